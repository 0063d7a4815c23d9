"""A checkpoint's tokenizer goes into the model directory, with a role and a digest."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest
import xxhash

from kvcache_export import tokenizer_files
from kvcache_export.cli import ANY, main

WHOLE = {"tokenizer.json": '{"version": "1.0"}\n', "tokenizer_config.json": "{}"}
PAIR = {"vocab.json": "{}", "merges.txt": "#version: 0.2\n"}


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return directory


def described(model: Path) -> dict[str, str]:
    """Digests of the tokenizer's files by config.json."""
    files = json.loads((model / "config.json").read_text())["files"]
    return {file["name"]: file["xxh3_128"] for file in files if file["role"] == "tokenizer"}


def digests(files: dict[str, str]) -> dict[str, str]:
    return {name: xxhash.xxh3_128_hexdigest(text.encode()) for name, text in files.items()}


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({}, {}),
        (WHOLE, WHOLE),
        (PAIR, PAIR),
        (WHOLE | PAIR, WHOLE),
        ({"vocab.json": "{}"}, {}),
        ({"tokenizer_config.json": "{}"}, {}),
    ],
)
def test_finds_what_the_library_reads(
    there: dict[str, str], found: dict[str, str], tmp_path: Path
) -> None:
    paths = tokenizer_files.find(write(tmp_path, there))
    assert sorted(path.name for path in paths) == sorted(found)


def test_files_are_copied_and_those_of_an_earlier_model_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, model = tmp_path / "checkpoint", tmp_path / "model"
    checkpoint.mkdir()
    checkpoints.write_random(checkpoint, 1, n_layer=1)
    arguments = ["--model", str(checkpoint), "--output-dir", str(model)]
    write(checkpoint, PAIR)
    assert main(arguments, ANY) == 0
    assert described(model) == digests(PAIR)
    assert "✓ Tokenizer copied: vocab.json, merges.txt\n" in capsys.readouterr().out

    write(checkpoint, WHOLE)
    assert main(arguments, ANY) == 0
    assert described(model) == digests(WHOLE)
    assert {name: (model / name).read_text() for name in WHOLE} == WHOLE
    names = sorted(path.name for path in model.iterdir())
    assert names == sorted(
        [*WHOLE, "config.json", "gpt2_with_cache.onnx", "gpt2_with_cache.onnx.data"]
    )
