"""The text of --calibration: the same export as of its ids, and what is no text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import checkpoints
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from kvcache_export.cli import main

TEXT = "abc ba\nc a"
ALPHABET = {"a": 3, "b": 4, "c": 5, "Ġ": 6, "Ċ": 7, "ab": 8}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    checkpoints.write_random(directory)
    tokenizer = Tokenizer(models.BPE(ALPHABET, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def weights(directory: Path) -> bytes:
    return next(directory.glob("*.data")).read_bytes()


def test_a_text_is_the_tokens_of_the_models_tokenizer(export, checkpoint: Path, tmp_path: Path):
    text, ids = tmp_path / "text", tmp_path / "ids.json"
    text.write_text(TEXT)
    ids.write_text(json.dumps([8, 5, 6, 4, 3, 7, 5, 6, 3]))
    options = ("--model", checkpoint, "--weights", "int4", "--block-size", "16")
    of_text = weights(export(*options, "--calibration", text))
    assert of_text == weights(export(*options, "--calibration-ids", ids))
    assert of_text != weights(export(*options))
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "vocab.json").write_text(json.dumps(ALPHABET))
    (checkpoint / "merges.txt").write_text("#version: 0.2\na b\n")
    assert of_text == weights(export(*options, "--calibration", text))


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        (None, [], "--calibration: cannot read"),
        (b"a\xff", [], "is not UTF-8"),
        (b"", [], "holds no text; at least one token is needed"),
        (b"a", ["--weights", "int8"], "--calibration with weights of int8: only int4 and uint4"),
        (b"a", ["--calibration-ids", "x"], "are two texts; give one of them"),
    ],
)
def test_bad_texts(data: bytes | None, more: list, message: str, checkpoint: Path, capsys):
    path = checkpoint / "text"
    if data is not None:
        path.write_bytes(data)
    try:
        assert run(checkpoint, path, *more) == 2
    except SystemExit as end:
        assert end.code == 2
    assert message in capsys.readouterr().err


def test_a_model_without_a_tokenizer(checkpoint: Path, capsys):
    (checkpoint / "text").write_text(TEXT)
    (checkpoint / "tokenizer.json").write_text("{}")
    assert run(checkpoint, checkpoint / "text") == 2
    assert "the model's tokenizer cannot be read" in capsys.readouterr().err
    (checkpoint / "tokenizer.json").unlink()
    assert run(checkpoint, checkpoint / "text") == 2
    assert "the model has no tokenizer to encode the text with" in capsys.readouterr().err


def test_without_the_package(checkpoint: Path, capsys, monkeypatch):
    (checkpoint / "text").write_text(TEXT)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert run(checkpoint, checkpoint / "text") == 2
    assert "run: python -m pip install tokenizers" in capsys.readouterr().err


def run(checkpoint: Path, text: Path, *more: str) -> int:
    options = ["--model", str(checkpoint), "--output-dir", str(checkpoint / "out")]
    return main([*options, "--weights", "int4", "--calibration", str(text), *more])
