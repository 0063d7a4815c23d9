"""Measures the bars of generating text: several samples of one prompt, a chat, guessed tokens.

    .venv/bin/python bench/text_bars.py --model MODEL_DIR [--rounds N] [--json FILE]
    .venv/bin/python bench/text_bars.py --model MODEL_DIR --draft-model SMALLER_DIR

The model has a tokenizer and a chat template, such as an export of SmolLM2-135M-Instruct. With
--draft-model only what that gains is measured, and a tokenizer is enough: a pair that knows Python
is what bench/gpu/train_draft_pair.py trains. Ratios are of processes that alternate, and of the
time from a prompt's beginning to the last token: loading the model is not in them. What must be
the same text is compared.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from bars import BAD_INPUT, DOES_NOT_HOLD, HOLDS, PROGRAM, ROOT, Bar
from processes import ProcessError, run_once, run_quietly, say

SAMPLES = 16
PROMPT_TOKENS = 500
TURNS = 20
CHATTED = (  # the turns of a chat
    *("Hello, who are you?", "What is a cache?", "And a key?", "Give me three short words."),
    *("Why is the sky blue?", "Say that in one sentence.", "Thank you.", "What is 2 + 2?"),
    *("Name a river.", "Where is it?", "Is it long?", "Name another one."),
)
PROSE = ROOT / "docs" / "ARCHITECTURE.md"
CODE = ROOT / "bench" / "bars.py"
CODE_BEGINS, CODE_ENDS = "@dataclass\nclass Bar:", "# ---- Agreement"
EDIT = ("limit", "threshold")  # one name is replaced by another throughout
EDIT_IS_SHOWN = 8  # lines of the edited code, after which the model goes on


@dataclass
class Figures:
    samples: Bar = field(
        default_factory=lambda: Bar(
            f"{SAMPLES} texts after {PROMPT_TOKENS} tokens, over as many runs", 6, at_least=True
        )
    )
    prompt_once: Bar = field(
        default_factory=lambda: Bar("prompts computed for them (time to the first token)", 1.25)
    )
    chat: Bar = field(
        default_factory=lambda: Bar(
            f"tokens computed in a chat of {TURNS} turns, of those in it", 1
        )
    )
    lookup: Bar = field(
        default_factory=lambda: Bar("prompt lookup on code that is edited", 1.8, at_least=True)
    )
    lookup_in_vain: Bar = field(
        default_factory=lambda: Bar("prompt lookup on text drawn by chance", 0.97, at_least=True)
    )
    draft: Bar = field(
        default_factory=lambda: Bar("draft model, code, the likeliest tokens", 1.3, at_least=True)
    )
    draft_drawn: Bar = field(
        default_factory=lambda: Bar("draft model, code, tokens drawn", 0.97, at_least=True)
    )
    draft_in_vain: Bar = field(
        default_factory=lambda: Bar("draft model on text drawn by chance", 0.97, at_least=True)
    )

    def measured(self) -> list[Bar]:
        return [bar for bar in vars(self).values() if bar.values]


class DisagreementError(Exception):
    """Two ways to one text that gave two."""


class Measurement:
    def __init__(self, arguments: argparse.Namespace, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.model, self.draft_model = arguments.model, arguments.draft_model
        self.new_tokens, self.device = arguments.new_tokens, arguments.device
        self.figures = Figures()
        self.raw: list[dict] = []

    def generate(self, prompt: str, *options: object) -> dict:
        """What `kvcache generate --json` says of a prompt."""
        file = self.folder / "prompt.txt"
        file.write_text(prompt)
        length = ("--max-new-tokens", self.new_tokens, "--ignore-stop-tokens")
        where = ("--device", self.device)
        command = [self.program, "generate", self.model, *where, "-f", file, *length]
        command += [*options, "--json"]
        run = run_quietly(list(map(str, command)))
        found = json.loads(run.output)
        self.raw.append(
            {
                "options": list(map(str, options)),
                "quiet": run.quiet,
                **{
                    name: found.get(name)
                    for name in ("prompt_tokens", "new_tokens", "time_to_first_token_s", "total_s")
                },
                "speculation": found.get("speculation"),
            }
        )
        return found

    def samples(self, prompt: str) -> None:
        """All texts together, and each in a run of its own."""
        say(f"  {SAMPLES} texts")
        together = self.generate(prompt, "--n", SAMPLES, "--seed", 1)
        alone = [self.generate(prompt, "--seed", 1 + sample) for sample in range(SAMPLES)]
        _require_same(together["samples"][0]["ids"], alone[0]["ids"], "text 1 of --n")
        figures = self.figures
        figures.samples.values.append(
            sum(run["total_s"] for run in alone) / together["total_s"],
        )
        figures.prompt_once.values.append(
            together["time_to_first_token_s"]
            / median(run["time_to_first_token_s"] for run in alone),
        )

    def chat(self) -> None:
        """A chat, of which each turn tells what it computed, and the whole how long it is."""
        say(f"  a chat of {TURNS} turns")
        lines = [CHATTED[turn % len(CHATTED)] for turn in range(TURNS)]
        length = ("--max-new-tokens", min(self.new_tokens, 32))
        command = [self.program, "generate", self.model, "--chat", "--interactive", *length]
        typed = "".join(f"{line}\n" for line in (*lines, "/texts"))
        run = run_once(list(map(str, command)), typed=typed)
        turns = re.findall(r"(\d+) prompt tokens, (\d+) new", run.errors)
        whole = re.search(rf"main: {TURNS} turns, (\d+) tokens", run.output)
        if len(turns) != TURNS or whole is None:
            raise DisagreementError(f"a chat of {TURNS} turns took {len(turns)}: {run.errors}")
        computed = sum(int(prompt) + int(new) for prompt, new in turns)
        self.raw.append({"chat": turns, "tokens": int(whole[1])})
        self.figures.chat.values.append(computed / int(whole[1]))

    def guesses(self, prompt: str, bar: Bar, *options: object) -> None:
        """A text with guesses of what follows, and without."""
        say(f"  {bar.name}")
        drafter = ("--draft-model", self.draft_model) if self.draft_model else ("--prompt-lookup",)
        without = self.generate(prompt, *options)
        guessed = self.generate(prompt, *options, *drafter)
        if self.device == "cpu":  # elsewhere a token's bits may depend on how many are computed
            _require_same(guessed["ids"], without["ids"], f"{bar.name}, with guesses,")
        self.raw[-1]["same_tokens"] = _same_at_the_beginning(guessed["ids"], without["ids"])

        def after_first(run: dict) -> float:
            return run["total_s"] - run["time_to_first_token_s"]

        bar.values.append(after_first(without) / after_first(guessed))

    def round(self, prose: str, code: str, edited: str) -> None:
        figures, by_chance = self.figures, ("--temperature", 1.5, "--seed", 3)
        if self.draft_model:
            self.guesses(code, figures.draft)
            self.guesses(code, figures.draft_drawn, "--temperature", 0.8, "--seed", 3)
            # Not of rows of the vocabulary that no token has.
            self.guesses(prose, figures.draft_in_vain, *by_chance, "--top-k", 1000)
            return
        self.samples(prose)
        self.chat()
        self.guesses(edited, figures.lookup)
        self.guesses(prose, figures.lookup_in_vain, *by_chance)


def _same_at_the_beginning(found: Sequence[int], expected: Sequence[int]) -> int:
    pairs = enumerate(zip(found, expected, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(found), len(expected)))


def _require_same(found: Sequence[int], expected: Sequence[int], name: str) -> None:
    if found != expected:
        same = _same_at_the_beginning(found, expected)
        raise DisagreementError(f"{name} is another text than without: {same} tokens are the same")


def first_tokens(program: Path, model: Path, text: str, count: int) -> str:
    """The beginning of a text that is so many tokens, or one or two more where they join."""
    tokenize = [program, "tokenize", "--tokenizer", model, "--json"]
    ids = json.loads(run_once(tokenize, typed=text).output)["ids"][:count]
    listed = ",".join(map(str, ids))
    decode = [program, "detokenize", "--tokenizer", model, "--ids", listed]
    return run_once(decode).output.removesuffix("\n")


def edited_code() -> str:
    """Code as it is, and the beginning of the same with a name changed, as an editor is asked."""
    whole = CODE.read_text()
    begin = whole.index(CODE_BEGINS)
    code = whole[begin : whole.index(CODE_ENDS, begin)].rstrip()
    before, after = EDIT
    lines = re.sub(rf"\b{before}\b", after, code).splitlines(keepends=True)
    shown = "".join(lines[:EDIT_IS_SHOWN])
    return f"```python\n{code}\n```\n\nThe same with {before} called {after}:\n\n```python\n{shown}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Measures the bars of samples, chats and guessed tokens.",
        epilog="Exit status: 0 every bar holds, 1 one does not, 2 bad input.",
    )
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="default: build")
    parser.add_argument("--model", type=Path, required=True, help="with a tokenizer, for chats")
    parser.add_argument("--draft-model", type=Path, help="measures what its guesses gain")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    parser.add_argument("--rounds", type=int, default=3, help="alternations (default: 3)")
    parser.add_argument("--new-tokens", type=int, default=128, help="of each text (default: 128)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes raw figures there")
    arguments = parser.parse_args()
    program = arguments.build / PROGRAM
    try:
        prose, code = (
            first_tokens(program, arguments.model, path.read_text(), PROMPT_TOKENS)
            for path in (PROSE, CODE)
        )
        with tempfile.TemporaryDirectory() as folder:
            measurement = Measurement(arguments, program, Path(folder))
            for number in range(1, arguments.rounds + 1):
                say(f"round {number} of {arguments.rounds}")
                measurement.round(prose, code, edited_code())
    except ProcessError as error:
        say(f"error: {error}")
        return BAD_INPUT
    except DisagreementError as error:
        say(f"error: {error}")
        return DOES_NOT_HOLD
    bars = measurement.figures.measured()
    print("| figure | limit | median | spread | runs | |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for bar in bars:
        print(bar.row())
    if arguments.json:
        document = {
            "format": "kvcache-bars",
            "format_version": 1,
            "bars": [
                {**asdict(bar), "median": median(bar.values), "holds": bar.holds} for bar in bars
            ],
            "runs": measurement.raw,
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return HOLDS if all(bar.holds for bar in bars) else DOES_NOT_HOLD


if __name__ == "__main__":
    sys.exit(main())
