"""kvcache generate --choice, --choices, --regex, --json-schema: the text is what it has to be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import Program, assert_error

CHOICES = ("--choice", "RED", "--choice", "GREEN", "--choice", "GREENISH")
DRAWN = ("--temperature", 2)


@pytest.fixture
def generate(kvcache: Program, model_with_tokenizer: Path) -> Callable[..., dict]:
    """generate("--choice", "A", …) → the JSON that is printed."""

    def run(*arguments: object) -> dict:
        count = () if "--max-new-tokens" in arguments else ("--max-new-tokens", 40)
        command = ("--prompt", "abc", *count, *arguments, "--json")
        finished = kvcache("generate", model_with_tokenizer, *command)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return run


# ---- Choices -------------------------------------------------------------------------------------


def test_the_text_is_one_of_the_choices(generate: Callable[..., dict]) -> None:
    found = generate(*CHOICES, "--n", 24, *DRAWN, "--seed", 1)
    texts = [sample["text"] for sample in found["samples"]]
    assert set(texts) == {"RED", "GREEN", "GREENISH"}
    for sample in found["samples"]:
        assert sample["meets_constraint"]
        assert sample["finish_reason"] == "stop"
    assert found["constraint"]["s_per_token"] > 0


def test_guesses_and_beams_obey(generate: Callable[..., dict], model: Path) -> None:
    drawn = (*DRAWN, "--seed", 3)
    alone = generate(*CHOICES, *drawn)
    guessed = generate(*CHOICES, *drawn, "--draft-model", model)
    assert guessed["ids"] == alone["ids"]
    beams = generate(*CHOICES, "--beams", 5)["beams"]
    assert sorted(beam["text"] for beam in beams) == ["GREEN", "GREENISH", "RED"]
    assert all(beam["meets_constraint"] for beam in beams)


def test_choices_of_a_file_are_its_lines(generate: Callable[..., dict], tmp_path: Path) -> None:
    file = tmp_path / "moves"
    for text in ("E4\nNF3\n", "E4\r\nNF3", "E4\nNF3\r\n"):
        file.write_bytes(text.encode())
        samples = generate("--choices", file, "--n", 20, *DRAWN)["samples"]
        assert {sample["text"] for sample in samples} == {"E4", "NF3"}


def test_choices_of_tokens_are_ids(kvcache: Program, model: Path) -> None:
    command = ("generate", model, "--ids", "1,2", "--max-new-tokens", 9)
    found = kvcache(*command, "--choice", "5,6,7", "--choice", "5,6")
    assert found.returncode == 0, found.stderr
    assert found.stdout == "5 6 7\n"
    assert re.search(r"; constraint \d+\.\d us a token;", found.stderr)


def test_says_where_a_text_was_cut_off(
    generate: Callable[..., dict], kvcache: Program, model_with_tokenizer: Path
) -> None:
    cut = generate("--choice", "GREEN", "--max-new-tokens", 3)
    assert cut["text"] == "GRE"
    assert cut["finish_reason"] == "length"
    assert not cut["meets_constraint"]
    command = ("generate", model_with_tokenizer, "--prompt", "a", "--max-new-tokens", 3)
    assert "a token, cut off before it was met;" in kvcache(*command, "--choice", "GREEN").stderr
    assert "cut off" not in kvcache(*command, "--choice", "RED").stderr
    assert "constraint" not in kvcache(*command, "--json").stdout


def test_each_turn_is_one_of_the_choices(kvcache: Program, model_with_tokenizer: Path) -> None:
    command = ("generate", model_with_tokenizer, "--interactive", "--max-new-tokens", 20)
    found = kvcache(*command, "--choice", "YES", "--choice", "NO", input="a\nb\n")
    assert found.returncode == 0, found.stderr
    assert re.fullmatch(r"((YES|NO)\n){2}", found.stdout)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no choices were given"),
        (b"A\n\nB", "--choices: line 2 of "),
        (b"A\n\xff\n", 'choice 2 of 2, "\\ufffd", is not UTF-8 from byte 0 on'),
        (b"A\nB\0C\n", 'no tokens spell the choice "B\\u0000C"'),
    ],
)
def test_refuses_files(
    kvcache: Program, model_with_tokenizer: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "choices"
    file.write_bytes(content)
    command = ("generate", model_with_tokenizer, "--prompt", "abc", "--max-new-tokens", 2)
    assert_error(kvcache(*command, "--choices", file), 2, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--choice", ""], "choice 1 of 1 is empty"),
        (["--choice", "A", "--choice", "é"], 'no tokens spell the choice "\\u00e9"'),
        (["--choice", "A", "--choices", "x"], "--choice excludes --choices"),
        (["--choice", "A", "--regex", "x"], "--choice excludes --regex"),
        (["--regex", "A", "--json-schema", "{}"], "--regex excludes --json-schema"),
        (["--regex", ""], "--regex"),
        (["--choices", "/missing"], "/missing cannot be read"),
        (["--choices", ""], "--choices"),
    ],
)
def test_refuses(
    kvcache: Program, model_with_tokenizer: Path, options: list[str], message: str
) -> None:
    command = ("generate", model_with_tokenizer, "--prompt", "abc", "--max-new-tokens", 2)
    assert_error(kvcache(*command, *options), 2, message)


def test_refuses_for_tokens(kvcache: Program, model: Path) -> None:
    command = ("generate", model, "--ids", "1", "--max-new-tokens", 2)
    assert_error(kvcache(*command, "--choice", "A"), 2, '--choice: "A" is not a token id')
    assert_error(kvcache(*command, "--choice", "100000"), 2, "choice 1 of 1 has token 100000")
    assert_error(kvcache(*command, "--regex", "A"), 2, "--regex and --json-schema are about a text")


# ---- Grammars ------------------------------------------------------------------------------------


@pytest.fixture
def xgrammar(kvcache: Program, model_with_tokenizer: Path) -> None:
    """Skips where xgrammar is not there."""
    command = ("generate", model_with_tokenizer, "--prompt", "a", "--max-new-tokens", 1)
    found = kvcache(*command, "--regex", "A")
    if found.returncode != 0:
        assert "xgrammar" in found.stderr
        pytest.skip(found.stderr)


@pytest.mark.usefixtures("xgrammar")
def test_the_text_matches_the_regular_expression(generate: Callable[..., dict]) -> None:
    pattern = "[A-C]{2,4}( [0-9]+)?"
    for sample in generate("--regex", pattern, "--n", 8, *DRAWN)["samples"]:
        assert bool(re.fullmatch(pattern, sample["text"])) == sample["meets_constraint"]
        assert sample["meets_constraint"] == (sample["finish_reason"] == "stop")


@pytest.mark.usefixtures("xgrammar")
def test_the_text_is_of_the_schema(generate: Callable[..., dict], tmp_path: Path) -> None:
    # The small vocabulary has capital letters and digits, and no braces.
    schema = json.dumps({"enum": [12, 345]})
    file = tmp_path / "schema.json"
    file.write_text(schema)
    for given in (schema, file):
        for sample in generate("--json-schema", given, "--n", 20, *DRAWN)["samples"]:
            assert sample["meets_constraint"]
            assert json.loads(sample["text"]) in (12, 345)


@pytest.mark.usefixtures("xgrammar")
def test_refuses_what_is_no_grammar(kvcache: Program, model_with_tokenizer: Path) -> None:
    command = ("generate", model_with_tokenizer, "--prompt", "abc", "--max-new-tokens", 2)
    assert_error(kvcache(*command, "--regex", "(A"), 2, 'refuses the regular expression "(A"')
    assert_error(kvcache(*command, "--json-schema", '{"a"'), 2, "the JSON schema")
    assert_error(kvcache(*command, "--json-schema", "/missing"), 2, "/missing cannot be read")


def test_says_what_to_do_without_xgrammar(
    kvcache: Program, model_with_tokenizer: Path, tmp_path: Path
) -> None:
    command = ("generate", model_with_tokenizer, "--prompt", "abc", "--max-new-tokens", 2)

    def refused(*messages: str) -> None:
        environment = os.environ | {"KVCACHE_XGRAMMAR_DIR": str(tmp_path)}
        finished = kvcache(*command, "--regex", "A", env=environment)
        assert_error(finished, 2, "pip install --no-deps xgrammar==", *messages)

    refused(f"the library xgrammar 0.2.8, which is not in {tmp_path}")
    (tmp_path / "xgrammar-0.2.8.dist-info").mkdir()
    refused("libtvm_ffi.so cannot be loaded")
    library = tmp_path / "tvm_ffi" / "lib" / "libtvm_ffi.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\x7fELF, and no more")
    refused("libtvm_ffi.so cannot be loaded")
