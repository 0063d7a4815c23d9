"""The README's commands are the ones that run."""

import re
import shlex
from pathlib import Path

import pytest
from paths import ROOT

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_THE_REPOSITORY = (
    "scripts/",
    "./scripts/",
    "export_gpt2_kvcache.py",
    "cmake/",
    "docs/",
    "tests/",
)


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text()
    lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("command", ["scripts/benchmark", "scripts/test"])
def test_the_two_commands_are_there(command: str) -> None:
    assert any(command in shlex.split(line, comments=True) for line in commands())


def test_what_the_commands_name_exists() -> None:
    words = [word for line in commands() for word in shlex.split(line, comments=True)]
    files = [word for word in words if word.startswith(IN_THE_REPOSITORY)]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_options_of_the_scripts_exist() -> None:
    for line in commands():
        words = shlex.split(line, comments=True)
        script = Path(words[0])
        if script.parent.name == "scripts":
            module = {"test": "checks", "site": "build_site"}.get(script.name, script.name)
            source = (ROOT / "scripts" / "lib" / f"{module}.py").read_text()
            for option in filter(lambda word: word.startswith("--"), words[1:]):
                assert f'"{option}"' in source, f"{line}: {script} has no option {option}"


def test_cmake_options_exist() -> None:
    lists = (ROOT / "CMakeLists.txt").read_text()
    for name in re.findall(r"-D([A-Z_]+)=", "\n".join(commands())):
        assert name.startswith("CMAKE_") or f"({name} " in lists, f"CMakeLists.txt has no {name}"
