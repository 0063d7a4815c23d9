"""kvcache tokenize and detokenize, as a person and a program use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipelines import pipelines
from programs import assert_error, runner

kvcache = runner("kvcache")
BAD_INPUT = 2


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    dict(pipelines())["gpt2"].save(str(path / "tokenizer.json"))
    return path


def stdout(*arguments: object, **options: object) -> str:
    finished = kvcache(*arguments, **options)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_a_text_comes_from_anywhere(directory: Path, tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("hello 1", encoding="utf-8")
    ids = stdout("tokenize", directory, "hello 1", "--ids")
    assert ids.strip()
    assert stdout("tokenize", directory, "-f", file, "--ids") == ids
    assert stdout("tokenize", directory, "--ids", input="hello 1") == ids
    assert stdout("tokenize", "--tokenizer", directory, "--text", "hello 1", "--ids") == ids
    whole = directory / "tokenizer.json"
    assert stdout("tokenize", whole, "hello 1", "--ids") == ids
    as_json = json.loads(stdout("tokenize", directory, "hello 1", "--json"))
    assert as_json == {"ids": json.loads(f"[{ids}]")}


def test_tokens_are_shown_a_line_each(directory: Path) -> None:
    ids = stdout("tokenize", directory, "a\n\nb", "--ids").strip().split(",")
    lines = stdout("tokenize", directory, "a\n\nb").splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ids
    shown = [json.loads(line.split(" ", 1)[1]) for line in lines]
    assert "".join(shown) == "aĊĊb"


def test_ids_become_the_text_again(directory: Path) -> None:
    text = "Größe 東京 👩‍👩‍👧 \n x"
    ids = stdout("tokenize", directory, text, "--ids").strip()
    assert stdout("detokenize", directory, "--ids", ids) == text + "\n"
    assert stdout("tokenize", directory, "--decode", ids) == text + "\n"
    assert json.loads(stdout("detokenize", directory, "--ids", ids, "--json")) == {"text": text}


def test_mistakes_are_named(directory: Path, tmp_path: Path) -> None:
    assert_error(kvcache("tokenize", tmp_path, "x"), BAD_INPUT, "tokenizer.json does not exist")
    assert_error(kvcache("tokenize", directory, "-f", tmp_path / "none"), BAD_INPUT, "none cannot")
    assert_error(
        kvcache("detokenize", directory, "--ids", "99999999"),
        BAD_INPUT,
        "no token has the id 99999999",
    )
    assert_error(
        kvcache("tokenize", directory, "--json-lines", input='"a\\u0000b'),
        BAD_INPUT,
        "line 1 is not JSON",
    )
    bad = tmp_path / "bad"
    bad.write_bytes(b"ab\xff")
    assert_error(kvcache("tokenize", directory, "-f", bad), BAD_INPUT, "byte 2 of 3 is 0xFF")
