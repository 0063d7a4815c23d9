"""kvcache generate: texts in and out, drawn by chance, several at once, saved and gone on with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import Program, assert_error

Generate = Callable[..., subprocess.CompletedProcess[str]]
DRAWN = ("--temperature", 2, "--seed", 5)


@pytest.fixture
def generate(kvcache: Program, model_with_tokenizer: Path) -> Generate:
    """generate("--prompt", "a", …) → the finished process, which did not fail."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        finished = kvcache("generate", model_with_tokenizer, *arguments, **options)
        assert finished.returncode == 0, finished.stderr
        return finished

    return run


@pytest.fixture
def generate_json(generate: Generate) -> Callable[..., dict]:
    def run(*arguments: object) -> dict:
        finished = generate(*arguments, "--json")
        assert not finished.stderr
        return json.loads(finished.stdout)

    return run


# ---- Texts ---------------------------------------------------------------------------------------


def test_continues_a_text(kvcache: Program, generate: Generate, model_with_tokenizer: Path) -> None:
    model, count = model_with_tokenizer, ("--max-new-tokens", 12)
    for prompt in ("abc", "+", "A1B2"):
        ids = kvcache("tokenize", model, prompt, "--ids").stdout.strip()
        tokens = kvcache("generate", model, "--ids", ids, *count).stdout.split()
        special = str(json.loads((model / "tokenizer.json").read_text())["added_tokens"][0]["id"])
        until = tokens.index(special) if special in tokens else len(tokens)
        expected = "\n"
        if until:
            expected = kvcache("detokenize", model, "--ids", ",".join(tokens[:until])).stdout
        assert generate("--prompt", prompt, *count).stdout == expected


def test_reads_the_text_of_a_file_or_of_standard_input(generate: Generate, tmp_path: Path) -> None:
    count = ("--max-new-tokens", 12)
    expected = generate("--prompt", "abc", *count).stdout
    file = tmp_path / "prompt.txt"
    file.write_text("abc")
    assert generate("-f", file, *count).stdout == expected
    with file.open() as opened:
        assert generate(*count, stdin=opened).stdout == expected


def test_wants_ids_or_a_text(
    kvcache: Program, model: Path, model_with_tokenizer: Path, tmp_path: Path
) -> None:
    command = ("generate", model_with_tokenizer, "--max-new-tokens", 2)
    nothing = kvcache(*command, stdin=subprocess.DEVNULL)
    assert_error(nothing, 2, "the text is empty", "give --prompt, -f or --ids")
    assert_error(kvcache(*command, "--ids", "1", "--prompt", "a"), 2, "--ids", "--prompt")
    assert_error(kvcache(*command, "--ids", "1", "-f", "a"), 2, "--ids", "--file")
    assert_error(kvcache(*command, "--prompt", "a", "-f", "a"), 2, "--prompt", "--file")
    missing = kvcache(*command, "-f", tmp_path / "missing")
    assert_error(missing, 2, "missing cannot be read: No such file or directory")
    without = kvcache("generate", model, "--prompt", "a", "--max-new-tokens", 2)
    assert_error(without, 2, "tokenizer.json")


def test_ends_with_a_line_of_figures(generate: Generate) -> None:
    finished = generate("--prompt", "abc", "--max-new-tokens", 5, "--ignore-stop-tokens")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("3 prompt tokens, 5 new; first after ")
    assert " tokens/s; keys and values " in line


# ---- Chance --------------------------------------------------------------------------------------


def test_a_seed_gives_one_text_on_any_threads_and_among_others(
    generate_json: Callable[..., dict],
) -> None:
    command = ("--prompt", "abc", "--max-new-tokens", 12, *DRAWN, "--top-p", 0.95)
    alone = generate_json(*command, "--threads", 1)
    assert alone["seed"] == 5
    for threads in (1, 2):
        several = generate_json(*command, "--threads", threads, "--n", 4)["samples"]
        assert [several[0][key] for key in ("ids", "text")] == [alone["ids"], alone["text"]]
        assert len({tuple(sample["ids"]) for sample in several}) == 4
    others = ("--temperature", 2, "--seed", 6, "--top-p", 0.95)
    other = generate_json("--prompt", "abc", "--max-new-tokens", 12, *others)
    assert other["ids"] != alone["ids"]


def test_a_seed_or_a_cut_draws_at_temperature_1(generate_json: Callable[..., dict]) -> None:
    command = ("--prompt", "abc", "--max-new-tokens", 12)
    drawn = generate_json(*command, "--seed", 3)["ids"]
    assert drawn == generate_json(*command, "--seed", 3, "--temperature", 1)["ids"]
    largest = generate_json(*command)["ids"]
    assert largest == generate_json(*command, "--temperature", 0, "--seed", 3)["ids"]
    assert largest == generate_json(*command, "--top-k", 1)["ids"]
    assert largest != drawn


def test_biases_and_penalties_are_heeded(generate_json: Callable[..., dict]) -> None:
    command = ("--ids", "5,6,7", "--max-new-tokens", 8)
    largest = generate_json(*command)["ids"]
    banned = generate_json(*command, "--logit-bias", f"{largest[0]}:-inf")["ids"]
    assert largest[0] not in banned
    often = generate_json(*command, "--logit-bias", "9:1000")["ids"]
    assert often == [9] * 8
    never_twice = generate_json(*command, "--presence-penalty", 1e6)["ids"]
    assert len(set(never_twice)) == 8
    assert never_twice == generate_json(*command, "--frequency-penalty", 1e6)["ids"]
    unlike_before = generate_json(*command, "--repetition-penalty", 1e6)["ids"]
    assert unlike_before != largest


# ---- JSON ----------------------------------------------------------------------------------------


def test_json_has_what_a_program_wants(
    generate: Generate, generate_json: Callable[..., dict]
) -> None:
    command = ("--prompt", "abc", "--max-new-tokens", 6, "--ignore-stop-tokens")
    found = generate_json(*command, "--log-probabilities", 2)
    assert found["text"] + "\n" == generate(*command).stdout
    assert len(found["ids"]) == found["new_tokens"] == 6
    assert found["finish_reason"] == "length"
    assert found["prompt_tokens"] == 3
    assert found["seed"] == 0
    assert 0 < found["time_to_first_token_s"] <= found["total_s"]
    assert found["tokens_per_second"] > 0
    assert 0 < found["cache"]["bytes_in_use"] <= found["cache"]["bytes_peak"]
    assert [token["id"] for token in found["log_probabilities"]] == found["ids"]
    for token in found["log_probabilities"]:  # the largest logit was taken
        assert len(token["most_probable"]) == 2
        best = token["most_probable"][0]
        assert best == {"id": token["id"], "log_probability": token["log_probability"]}


def test_json_of_tokens_has_no_text(generate_json: Callable[..., dict]) -> None:
    found = generate_json("--ids", "1,2", "--max-new-tokens", 3)
    assert "text" not in found
    assert len(found["ids"]) == 3


# ---- Ends ----------------------------------------------------------------------------------------


def test_a_stop_string_ends_the_text_before_it(generate_json: Callable[..., dict]) -> None:
    command = ("--prompt", "abc", "--max-new-tokens", 12, *DRAWN, "--ignore-stop-tokens")
    whole = generate_json(*command)
    stop = whole["text"][4:7]
    found = generate_json(*command, "--stop", stop, "--stop", "not in the text")
    assert found["text"] == whole["text"][: whole["text"].index(stop)]
    assert found["finish_reason"] == "stop"
    token = whole["ids"][3]
    found = generate_json(*command, "--stop-tokens", token)
    assert found["ids"] == whole["ids"][: whole["ids"].index(token) + 1]
    assert found["finish_reason"] == "stop"


# ---- Saved states --------------------------------------------------------------------------------


def test_a_saved_text_goes_on_as_if_never_saved(
    generate: Generate, generate_json: Callable[..., dict], tmp_path: Path
) -> None:
    state = tmp_path / "text.state"
    drawn = (*DRAWN, "--ignore-stop-tokens")
    whole = generate_json("--prompt", "abc", "--max-new-tokens", 10, *drawn)
    first = generate_json("--prompt", "abc", "--max-new-tokens", 4, *drawn, "--save-state", state)
    rest = generate_json("--load-state", state, "--max-new-tokens", 6, *drawn)
    assert first["ids"] + rest["ids"] == whole["ids"]
    assert first["text"] + rest["text"] == whole["text"]
    assert rest["prompt_tokens"] == 7
    # With more of a prompt: as one prompt.
    more = generate("--load-state", state, "--prompt", "de", "--max-new-tokens", 5, *drawn)
    text = "abc" + first["text"] + "de"
    assert more.stdout == generate("--prompt", text, "--max-new-tokens", 5, *drawn).stdout


# ---- Several -------------------------------------------------------------------------------------


def test_several_texts_are_printed_when_all_are_there(
    generate: Generate, generate_json: Callable[..., dict]
) -> None:
    command = ("--prompt", "abc", "--max-new-tokens", 5, *DRAWN, "--n", 3)
    samples = generate_json(*command)["samples"]
    expected = "".join(
        f"# {number} of 3 ({sample['finish_reason']})\n{sample['text']}\n"
        for number, sample in enumerate(samples, 1)
    )
    assert generate(*command).stdout == expected


def test_beams_are_the_most_probable_texts(
    generate: Generate, generate_json: Callable[..., dict]
) -> None:
    command = ("--ids", "1,2,3", "--max-new-tokens", 6)
    (one,) = generate_json(*command, "--beams", 1)["beams"]
    assert one["ids"] == generate_json(*command)["ids"]
    beams = generate_json(*command, "--beams", 5)["beams"]
    assert [beam["score"] for beam in beams] == sorted(
        (beam["log_probability"] / 6 for beam in beams), reverse=True
    )
    assert beams[0]["log_probability"] >= one["log_probability"]
    lines = generate(*command, "--beams", 5).stdout.splitlines()
    assert lines[0].startswith("# 1 of 5 (length, log-probability -")
    assert lines[1::2] == [" ".join(map(str, beam["ids"])) for beam in beams]
    by_sum = generate_json(*command, "--beams", 5, "--length-penalty", 0)["beams"]
    assert by_sum[0]["score"] == by_sum[0]["log_probability"]


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", 5, "--temperature", 0], "--top-k does nothing at --temperature 0"),
        (["--top-k", 0], '"0" is not a whole number'),
        (["--temperature", -1], "the sampling option temperature is -1, must be"),
        (["--temperature", "nan"], "temperature is nan"),
        (["--top-p", 1.5], "the sampling option top_p is 1.5, must be a share from 0 to 1"),
        (["--min-p", -0.5], "min_p is -0.5"),
        (["--typical-p", 0], "typical_p is 0"),
        (["--repetition-penalty", 0], "repetition_penalty is 0"),
        (["--presence-penalty", "inf"], "presence_penalty is inf"),
        (["--seed", -1], '"-1" is not a whole number from 0 to 18446744073709551615'),
        (["--logit-bias", "5"], '--logit-bias: "5" is no ID:BIAS'),
        (["--logit-bias", "5:1,"], '--logit-bias: "" is no ID:BIAS'),
        (["--logit-bias", "5:1x"], '"5:1x" is no ID:BIAS'),
        (["--logit-bias", "5:inf"], "logit_bias of token 5 is inf"),
        (["--logit-bias", "100000:1"], "logit_bias names token 100000"),
        (["--n", 0], '"0" is not a whole number'),
        (["--n", 2], "--n 2 at temperature 0 would give the same text 2 times"),
        (["--n", 2, "--seed", 1, "--window", 8], "--window, --stride and --sinks are of one text"),
        (["--n", 2, "--seed", 1, "--save-state", "x"], "--save-state saves one text"),
        (["--save-state", "x", "--window", 8], "--window, --stride and --sinks are of one text"),
        (["--load-state", "/missing", "--window", 8], "--window, --stride and --sinks are of one"),
        (["--load-state", "/missing"], "/missing"),
        (["--save-state", ""], "--save-state: the name of a file is missing"),
        (["--save-state", "x", "--max-new-tokens", 62], "--save-state: 0 tokens, a prompt of 3"),
        (["--log-probabilities", 1], "--log-probabilities are printed as JSON only; add --json"),
        (["--stop", ""], "a stop string is empty"),
        (["--stop-tokens", "1,x"], '--stop-tokens: "x" is not a token id'),
        (["--stop-tokens", 100_000], "the stop token 100000 lies outside the model's vocabulary"),
        (["--beams", 0], '"0" is not a whole number'),
        (["--beams", 2, "--seed", 1], "--seed cannot be beside --beams"),
        (["--beams", 2, "--n", 2], "--n cannot be beside --beams"),
        (["--beams", 2, "--save-state", "x"], "--save-state cannot be beside --beams"),
        (["--beams", 2, "--window", 8], "--window, --stride and --sinks are of one text"),
        (["--interactive"], "--prompt cannot be beside --interactive"),
        (["--length-penalty", 2], "--length-penalty compares the texts of --beams"),
        (["--beams", 2, "--length-penalty", "nan"], "the length penalty is nan"),
    ],
)
def test_refuses(
    kvcache: Program, model_with_tokenizer: Path, options: list[object], message: str
) -> None:
    count = () if "--max-new-tokens" in options else ("--max-new-tokens", 2)
    command = ("generate", model_with_tokenizer, "--prompt", "abc", *count)
    assert_error(kvcache(*command, *options), 2, message)


@pytest.mark.parametrize("option", [("--stop", "a"), ("--ignore-stop-tokens",)])
def test_refuses_options_of_a_text_for_tokens(
    kvcache: Program, model: Path, option: tuple[str, ...]
) -> None:
    finished = kvcache("generate", model, "--ids", "1", "--max-new-tokens", 2, *option)
    assert_error(finished, 2, "--stop and --ignore-stop-tokens are about a text")
