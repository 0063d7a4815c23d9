"""Whether SmolLM2's greedy tokens are Hugging Face's and llama.cpp's: 20 prompts, 64 tokens each.

    .venv/bin/python bench/peers/greedy.py [--json FILE]

All in float32 with the weights of the same file. Hugging Face generates with its cache; llama.cpp
is given kvcache's tokens at once and must choose each of them itself. Where the two best logits of
a position are closer than rounding, the first difference ends a prompt's comparison: it is printed
with that distance. Installs torch, gigabytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import llama_cpp
import numpy as np
from environment import (
    HUGGING_FACE,
    PROGRAMS,
    PYTHON,
    REQUIREMENTS,
    ROOT,
    WORK,
    build_programs,
    install,
    run,
)
from processes import ProcessError, say

TOKENS = 64
FOLDER = WORK / "greedy"
PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n    ",
    "Water boils at a temperature of",
    "The most important thing about a good friend is",
    "1, 2, 3, 5, 8, 13,",
    "Dear Sir or Madam,\n\nI am writing to",
    "Photosynthesis is the process by which",
    "In 1969, the first human",
    "SELECT name FROM users WHERE",
    "The difference between a virus and a bacterium is",
    "To bake a simple loaf of bread, you need",
    "Chess is a game in which",
    "It was a dark and stormy night when",
    "The theory of evolution explains",
    "Question: What is the largest planet?\nAnswer:",
    "<html>\n<head>\n<title>",
    "My favourite season is autumn, because",
    "The quick brown fox",
    "A prime number is a number that",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the tokens there")
    options = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    say("packages, llama.cpp and the programs")
    if install(REQUIREMENTS) | install([HUGGING_FACE]) or sys.executable != str(PYTHON):
        return subprocess.run([PYTHON, *sys.argv], check=False).returncode
    build_programs(options.build, llama_cpp.build(), llama_cpp.LIBRARIES)
    import smollm2

    FOLDER.mkdir(exist_ok=True)
    wide = FOLDER / "F32.gguf"
    if not wide.exists():
        smollm2.write_float32(wide)
    model = FOLDER / "kvcache"
    if not (model / "config.json").exists():
        say("export for kvcache")
        exporter = (ROOT / ".venv" / "bin" / "python", ROOT / "export_kvcache.py")
        run(*exporter, "--model", wide, "--output-dir", model)
    prompts = [smollm2.tokens_of(text) for text in PROMPTS]
    say("kvcache")
    ours = [own_tokens(options.build / "kvcache", model, ids) for ids in prompts]
    say("Hugging Face")
    theirs = hugging_face_tokens(smollm2, prompts)
    say("llama.cpp")
    rows = []
    for text, ids, own, other in zip(PROMPTS, prompts, ours, theirs, strict=True):
        chosen, distances = llama_choices(wide, ids, own)
        rows.append(
            {
                "prompt": text,
                "ids": ids,
                "kvcache": own,
                "hugging_face_equal": equal_before_a_difference(own, other),
                "llama_cpp_equal": equal_before_a_difference(own, chosen),
                "smallest_distance_of_two_best": min(distances),
            }
        )
    for name in ("hugging_face", "llama_cpp"):
        counts = [row[f"{name}_equal"] for row in rows]
        whole = sum(count == TOKENS for count in counts)
        print(
            f"{name}: {whole} of {len(rows)} prompts, {sum(counts)} of {TOKENS * len(rows)} tokens"
        )
    for row in rows:
        if min(row["hugging_face_equal"], row["llama_cpp_equal"]) < TOKENS:
            print(json.dumps({key: row[key] for key in row if key not in ("ids", "kvcache")}))
    if options.json is not None:
        what = {"format": "greedy", "format_version": 1, "tokens": TOKENS, "prompts": rows}
        options.json.write_text(json.dumps(what, indent=1) + "\n")
    return 0


def equal_before_a_difference(ours: list[int], theirs: list[int]) -> int:
    pairs = zip(ours, theirs, strict=True)
    return next((i for i, (own, other) in enumerate(pairs) if own != other), len(ours))


def own_tokens(program: Path, model: Path, ids: list[int]) -> list[int]:
    given = ("--ids", ",".join(map(str, ids)), "--max-new-tokens", TOKENS)
    command = (program, "generate", model, *given)
    return [int(token) for token in run(*map(str, command)).split()][-TOKENS:]


def hugging_face_tokens(smollm2, prompts: list[list[int]]) -> list[list[int]]:
    import torch
    from genai_smollm2 import write_checkpoint
    from transformers import AutoModelForCausalLM

    checkpoint = FOLDER / "checkpoint"
    if not checkpoint.exists():
        write_checkpoint(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    found = []
    for ids in prompts:
        with torch.inference_mode():
            text = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=TOKENS,
                min_new_tokens=TOKENS,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        found.append(text[0, len(ids) :].tolist())
    return found


def llama_choices(
    model: Path, prompt: list[int], following: list[int]
) -> tuple[list[int], list[float]]:
    """llama.cpp's best token at each place of `following`, and how far the second was from it."""
    ids, raw = FOLDER / "ids", FOLDER / "logits"
    ids.write_text(" ".join(map(str, prompt + following)))
    run(PROGRAMS / "logits_llama", model, ids, raw)
    logits = np.fromfile(raw, np.float32).reshape(len(prompt) + len(following), -1)
    rows = logits[len(prompt) - 1 : -1]
    two = np.sort(rows, axis=1)[:, -2:]
    return rows.argmax(1).tolist(), (two[:, 1] - two[:, 0]).astype(float).tolist()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ProcessError as error:
        sys.exit(f"error: {error}")
