"""The layout tells the story in the order data flows: a room includes only rooms before it."""

import re
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = [
    "base",
    "text",
    "kernels",
    "weights",
    "model",
    "plan",
    "device",
    "ort",
    "cache",
    "inference",
    "evaluator",
    "policy",
    "decoding",
    "report",
    "c",
]
WITHOUT_ONNX_RUNTIME = {"base", "text", "kernels", "weights", "plan", "model"}
SOURCES = sorted(
    path
    for path in (REPOSITORY / "src").rglob("*")
    if path.suffix in {".hpp", ".cpp", ".cu", ".cuh"}
)


def room_of(path: Path) -> str | None:
    """The room of a source file; None for the few that all rooms share."""
    relative = path.relative_to(REPOSITORY / "src")
    return relative.parts[0] if len(relative.parts) > 1 else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_includes_only_rooms_before_it(path: Path) -> None:
    room = room_of(path)
    if room is None:
        return
    assert room in ROOMS, f"src/{room} is a new room: give it its place in docs/ARCHITECTURE.md"
    for included in re.findall(r'#include "([a-z_]+)/', path.read_text(encoding="utf-8")):
        if included in ROOMS:
            assert ROOMS.index(included) <= ROOMS.index(room), f"{path} includes {included}/"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_only_some_rooms_know_onnx_runtime(path: Path) -> None:
    if room_of(path) in WITHOUT_ONNX_RUNTIME:
        assert not re.search(r"onnxruntime_c|\bOrt::", path.read_text(encoding="utf-8"))


def test_only_some_rooms_name_cuda() -> None:
    for path in SOURCES:
        if room_of(path) in {"kernels", "plan", "device", "ort"}:
            continue
        assert not re.search(r"cuda[A-Z_]|cudart|#include <cuda", path.read_text(encoding="utf-8"))


BINDINGS = sorted((REPOSITORY / "python" / "bindings").glob("*.[ch]pp"))


@pytest.mark.parametrize("path", BINDINGS, ids=lambda path: path.name)
def test_the_bindings_know_the_public_headers_alone(path: Path) -> None:
    included = re.findall(r'#include "([a-z_]+)/', path.read_text(encoding="utf-8"))
    assert set(included) <= {"bindings", "kvcache"}


INTERFACE = sorted((REPOSITORY / "src" / "c").glob("*.[ch]pp"))


@pytest.mark.parametrize("path", INTERFACE, ids=lambda path: path.name)
def test_the_c_interface_is_made_of_the_public_headers(path: Path) -> None:
    """And of how errors are thrown: what C can do, C++ can."""
    included = re.findall(r'#include "([a-z_/]+)', path.read_text(encoding="utf-8"))
    others = [name for name in included if not name.startswith(("c/", "kvcache/"))]
    assert set(others) <= {"kvcache", "base/throw_error"}


def test_modules_on_the_path_of_the_tests_have_names_of_their_own(
    pytestconfig: pytest.Config,
) -> None:
    """Of two with one name, the second would be the first for whoever imports it."""
    modules = Counter(
        path.stem
        for folder in pytestconfig.getini("pythonpath")
        for path in (REPOSITORY / folder).glob("*.py")
        if path.stem != "conftest" and not path.stem.startswith("test_")
    )
    assert modules
    assert [name for name, count in modules.items() if count > 1] == []
