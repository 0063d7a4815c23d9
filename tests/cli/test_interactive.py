"""kvcache generate --interactive: turns and commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import Program

OPTIONS = ("--max-new-tokens", 4, "--temperature", 2, "--seed", 5, "--ignore-stop-tokens")
NAMES = ["rewind", "fork", "switch", "texts", "history", "save", "load", "help", "quit"]
Talk = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def talk(kvcache: Program, model_with_tokenizer: Path) -> Talk:
    """talk("a", "/rewind", …) → the finished process that read these lines."""

    def run(*lines: str, options: tuple[object, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = ("generate", model_with_tokenizer, "--interactive", *OPTIONS, *options)
        return kvcache(*command, input="".join(f"{line}\n" for line in lines))

    return run


@pytest.fixture
def after(kvcache: Program, model_with_tokenizer: Path) -> Callable[[str], str]:
    """What follows a text."""

    def run(text: str) -> str:
        command = ("generate", model_with_tokenizer, "--prompt", text, *OPTIONS, "--json")
        return json.loads(kvcache(*command).stdout)["text"]

    return run


def test_each_line_goes_on_with_the_text(talk: Talk, after: Callable[[str], str]) -> None:
    first = after("abc")
    second = after("abc" + first + "de")
    finished = talk("abc", "de", "/history")
    assert finished.returncode == 0
    assert finished.stdout == f"{first}\n{second}\nabc{first}de{second}\n"
    lines = finished.stderr.splitlines()  # each turn computes its own tokens only
    assert [line.split(" prompt")[0] for line in lines] == ["3", "2"]


def test_a_turn_is_taken_back(talk: Talk, after: Callable[[str], str]) -> None:
    first = after("abc")
    finished = talk("abc", "de", "f", "/rewind 2", "/history", "/rewind", "/history")
    assert finished.stdout.splitlines()[-2:] == [f"abc{first}", ""]


def test_texts_fork_and_are_gone_back_to(talk: Talk, after: Callable[[str], str]) -> None:
    first = after("abc")
    commands = ("abc", "/fork other", "de", "/switch main", "/history", "/texts")
    lines = talk(*commands).stdout.splitlines()
    assert lines[2] == f"abc{first}"
    assert lines[3:] == ["* main: 1 turns, 7 tokens", "  other: 2 turns, 13 tokens"]


def test_a_saved_text_is_loaded(talk: Talk, after: Callable[[str], str], tmp_path: Path) -> None:
    state = tmp_path / "text.state"
    first = talk("abc", f"/save {state}").stdout
    expected = talk("abc", "de").stdout.splitlines()[1:]
    assert talk(f"/load {state}", "de").stdout.splitlines() == expected
    assert talk("de", options=("--load-state", state)).stdout.splitlines() == expected
    assert first == after("abc") + "\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/fly", '"/fly" is no command; /help lists them'),
        ("/rewind 2", "/rewind: 2 turns are more than the text's 1"),
        ("/rewind x", '/rewind: "x" is not a whole number'),
        ("/fork", "/fork: give the copy's name"),
        ("/fork main", '/fork: there is a text "main" already'),
        ("/switch x", '/switch: there is no text "x"'),
        ("/texts x", "/texts takes nothing after it"),
        ("/save", "/save: give the file's name"),
        ("/load", "/load: give the file's name"),
        ("/load /missing", "/missing"),
        ("a" * 100, "do not fit"),
    ],
)
def test_an_error_leaves_the_text_as_it_was(talk: Talk, line: str, message: str) -> None:
    finished = talk("abc", line, "/history")
    assert finished.returncode == 0
    assert finished.stdout.splitlines()[-1] == talk("abc", "/history").stdout.splitlines()[-1]
    (error,) = (text for text in finished.stderr.splitlines() if text.startswith("error: "))
    assert message in error


def test_help_lists_the_commands_and_quit_ends(talk: Talk) -> None:
    lines = talk("/help", "/quit", "/help").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [f"/{name}" for name in NAMES]
