"""libkvcache.so shows what include/ marks with KVCACHE_EXPORT, and nothing else.

Its functions of C are tests/c/test_abi.py's.
"""

import re
from pathlib import Path

import c_header
import pytest
from cmake_projects import (
    C_CONSUMER,
    CONSUMER,
    CONSUMER_SAYS,
    build,
    cmake,
    compile_with_pkg_config,
    run,
)
from paths import ROOT

NAMESPACE = re.compile(r"^namespace ([\w:]+) \{$|^\}  // namespace ([\w:]+)$")
DECLARED_WITHIN = re.compile(
    r"^namespace [\w:]+ \{\n[^\n]+;\n\}$", re.MULTILINE
)  # ends without a comment
EXPORTED = re.compile(r"^(?:class|struct) KVCACHE_EXPORT (\w+)|^KVCACHE_EXPORT .*?(\w+)\(")


def public_names(header: str) -> set[str]:
    """Classes and functions that a header marks, with their namespaces."""
    names = set()
    within: list[str] = []
    for line in DECLARED_WITHIN.sub("", header).splitlines():
        if namespace := NAMESPACE.match(line):
            within.append(namespace[1]) if namespace[1] else within.pop()
        elif exported := EXPORTED.match(line):
            names.add("::".join([*within, exported[1] or exported[2]]))
    return names


def belongs_to(symbol: str, name: str) -> bool:
    """Whether a symbol is the function of that name, or a part of the class."""
    symbol = re.sub(r"^(?:typeinfo name|typeinfo|vtable) for ", "", symbol)
    return re.match(rf"{name}(?:::|\(|\[|<|$)", symbol) is not None


def test_public_names_are_read_with_their_namespaces() -> None:
    header = """\
namespace a {
namespace inner {
class Declared;
}
class KVCACHE_EXPORT Model {
};
namespace inner {
struct KVCACHE_EXPORT Lease {};
class Hidden {};
}  // namespace inner
KVCACHE_EXPORT std::vector<Logits> extend(std::span<const Extension> batch);
}  // namespace a
class KVCACHE_EXPORT Facade {
"""
    assert public_names(header) == {"a::Model", "a::inner::Lease", "a::extend", "Facade"}
    assert belongs_to("a::Model::load(int)", "a::Model")
    assert belongs_to("typeinfo for a::Model", "a::Model")
    assert belongs_to("a::Model<int>::load(int)", "a::Model")
    assert not belongs_to("a::Models::load(int)", "a::Model")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a shared build is installed, as a distribution would."""
    directory = tmp_path_factory.mktemp("shared")
    options = ("-DBUILD_SHARED_LIBS=ON", "-DKVCACHE_BUILD_TESTS=OFF")
    build(ROOT, directory / "build", *options)
    cmake("--install", directory / "build", "--prefix", directory / "installed")
    return directory / "installed"


@pytest.fixture(scope="module")
def library(prefix: Path) -> Path:
    (library,) = prefix.glob("lib*/**/libkvcache.so")
    return library


def release_of(library: Path) -> str:
    """Of libkvcache.so.0.1.0, 0.1: what programs that were linked with it ask for."""
    return ".".join(library.resolve().name.split(".")[2:4])


@pytest.mark.full
def test_shows_what_is_public_and_nothing_else(library: Path) -> None:
    public = set().union(*(public_names(h.read_text()) for h in (ROOT / "include").rglob("*.hpp")))
    public |= {function.name for function in c_header.read(c_header.HEADER.read_text()).functions}
    lines = run("nm", "--dynamic", "--defined-only", "--demangle", library).splitlines()
    version = f"KVCACHE_{release_of(library)}"
    shown = [line.split(" ", 2)[2] for line in lines]
    shown.remove(version)  # the name of the version itself
    without = [name.removesuffix(f"@@{version}") for name in shown]
    assert [name for name, bare in zip(shown, without, strict=True) if name == bare] == []
    shown = without
    assert {name for name in public if not any(belongs_to(s, name) for s in shown)} == set()
    assert {s for s in shown if not any(belongs_to(s, name) for name in public)} == set()


@pytest.mark.full
def test_has_a_version(library: Path) -> None:
    project = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"^  VERSION (\d+\.\d+)(\.\d+)$", project, re.MULTILINE)
    assert version
    release, patch = version.groups()
    assert library.resolve().name == f"libkvcache.so.{release}{patch}"
    assert f"[libkvcache.so.{release}]" in run("readelf", "--dynamic", library)


@pytest.mark.full
def test_exceptions_reach_a_program(prefix: Path, tmp_path: Path) -> None:
    build(CONSUMER, tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    assert run(tmp_path / "consumer") == CONSUMER_SAYS
    assert "libkvcache.so" in run("readelf", "--dynamic", tmp_path / "consumer")


@pytest.mark.full
def test_projects_in_c(prefix: Path, tmp_path: Path) -> None:
    """Without a compiler of C++, and without the libraries that the library uses."""
    build(C_CONSUMER, tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    assert run(tmp_path / "consumer") == CONSUMER_SAYS
    program = tmp_path / "without-cmake"
    assert compile_with_pkg_config(prefix, C_CONSUMER / "consumer.c", program) == CONSUMER_SAYS
    needed = run("readelf", "--dynamic", program)
    assert "libkvcache.so" in needed and "libonnxruntime" not in needed


@pytest.mark.full
def test_programs_use_inner_headers_all_the_same(prefix: Path) -> None:
    assert "eval-tree" in run(prefix / "bin" / "kvcache", "--help")
