"""The commands that pages show are run, those of a page one after the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import groupby
from pathlib import Path

import pytest
import shell
import snippets
from paths import ROOT, VENV
from snippets import BUILT

COMMANDS = shell.commands()
RUN = [command for command in COMMANDS if command.is_run_here()]
TREE = {"tokens": [11, 12], "parents": [-1, 0]}
SCHEMA = {"type": "object", "properties": {"author": {"type": "string", "maxLength": 20}}}
FILES = {
    "tree.json": json.dumps(TREE),
    "author.json": json.dumps({**SCHEMA, "required": ["author"]}),
    "main.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
    "story.txt": "Once upon a time",
    "question.txt": "Why?",
    "position.txt": "1. e4 e5 2. ",
    "legal_moves.txt": "Nf3\nNc3\nO-O\n",
    "book.txt": "It was a dark night.\n",
}
MANY = {  # a line of what a page gives on standard input
    "docs/CHAT.md": '[{"role": "user", "content": "Hi"}]\n',
    "docs/TOKENIZER.md": '"Hi"\n"Hello"\n',
}


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader stands: the repository's root, after an export and a build."""
    here = tmp_path_factory.mktemp("shell")
    shutil.copytree(world / "models", here / "models", symlinks=True)
    for name in ("bench", "docs", "examples"):
        (here / name).symlink_to(ROOT / name)
    for name in ("MODEL_DIR", "SMALL"):
        (here / name).symlink_to("models")
    (here / "build").symlink_to(BUILT)
    programs = here / "bin"  # what an installation puts on the path
    programs.mkdir()
    (programs / "kvcache").symlink_to(BUILT / "kvcache")
    (programs / "export_trigo_kvcache.py").write_text(
        f'#!/bin/sh\nexec {VENV}/bin/python {ROOT}/export_trigo_kvcache.py "$@"\n'
    )
    (programs / "export_trigo_kvcache.py").chmod(0o755)
    for name, text in FILES.items():
        (here / name).write_text(text)
    tour = here / "tour"
    tour.mkdir()
    (tour / "CMakeLists.txt").write_text(snippets.one("docs/TOUR.md", "cmake").text)
    (tour / "main.cpp").write_text(snippets.one("docs/TOUR.md", "cpp").text)
    run("for i in before after; do kvcache bench models --json $i.json; done", here)
    trace = "--games 1 --max-moves 6 --simulations 20 --trace trace.jsonl"
    run(f"build/trigo_selfplay --player rollouts {trace}", here)
    return here


def run(command: str, folder: Path) -> str:
    """In bash, with nothing on standard input."""
    # Readers have make, or choose for themselves; here Ninja is there in any case.
    generator = {} if shutil.which("make") else {"CMAKE_GENERATOR": "Ninja"}
    path = os.pathsep.join([str(folder / "bin"), str(VENV / "bin"), os.environ["PATH"]])
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **generator, "PATH": path},
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def test_none_of_them_changes_the_machine() -> None:
    changing = [one.name for one in RUN if shell.CHANGES_THE_MACHINE.search(one.text)]
    assert changing == [], "say in tests/site/shell.py why they are not run, or who runs them"


def by_page() -> list[list[shell.Command]]:
    return [list(some) for _, some in groupby(RUN, lambda command: command.page)]


@pytest.mark.parametrize("commands", by_page(), ids=lambda commands: commands[0].page)
def test_the_commands_of_a_page(folder: Path, commands: list[shell.Command]) -> None:
    assert not any(shell.CHANGES_THE_MACHINE.search(command.text) for command in commands)
    (folder / "many").write_text(MANY.get(commands[0].page, ""))
    for command in commands:
        if any(option in command.text for option in shell.NEEDS_XGRAMMAR):
            continue  # the next test's
        run(command.short(), folder)


@pytest.mark.skipif(
    "KVCACHE_XGRAMMAR_DIR" not in os.environ, reason="xgrammar is not there (KVCACHE_XGRAMMAR_DIR)"
)
@pytest.mark.parametrize(
    "command",
    [one for one in RUN if any(option in one.text for option in shell.NEEDS_XGRAMMAR)],
    ids=lambda command: command.name,
)
def test_commands_with_a_grammar(folder: Path, command: shell.Command) -> None:
    run(command.text, folder)


@pytest.mark.parametrize(("page", "begins"), shell.NOT_RUN)
def test_blocks_that_are_not_run(page: str, begins: str) -> None:
    """Each counts among what is skipped, with its reason."""
    first = shell.block(page, begins).text.splitlines()[0]
    pytest.skip(f"{shell.NOT_RUN[page, begins]}: {first[:60]}")


@pytest.mark.parametrize(("page", "begins"), shell.RUN_BY)
def test_blocks_that_others_run(page: str, begins: str) -> None:
    assert shell.block(page, begins)
    assert (ROOT / shell.RUN_BY[page, begins]).is_file()


def test_the_chat_template_of_the_page_is_one(folder: Path) -> None:
    """docs/CHAT.md's JSON renders what it says."""
    copy = shutil.copytree(folder / "models", folder / "chat", symlinks=True)
    (copy / "chat_template.json").write_text(snippets.one("docs/CHAT.md", "json").text)
    said = run("""kvcache tokenize chat --chat '[{"role": "user", "content": "Hi"}]'""", folder)
    assert json.loads(said)["text"] == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
