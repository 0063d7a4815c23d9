"""libkvcache.so shows what include/ declares, and nothing else."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from paths import BUILD, DEBIAN_ROOT, ROOT
from test_install import CONSUMER, build, cmake, run

PROJECT = (ROOT / "CMakeLists.txt").read_text()
SHARED = BUILD / "shared"
INCLUDE = ROOT / "include"


def public_names() -> set[str]:
    """Classes and functions that the public headers mark with KVCACHE_EXPORT, qualified."""
    names = set()
    for header in INCLUDE.rglob("*.hpp"):
        text = header.read_text()
        namespace = "kvcache::" if "namespace kvcache {" in text else ""
        exported = re.findall(
            r"^(?:class|struct) KVCACHE_EXPORT (\w+)|^KVCACHE_EXPORT [^(]*?(\w+)\(", text, re.M
        )
        names |= {namespace + (of_class or function) for of_class, function in exported}
    return names


def shown_names(library: Path) -> set[str]:
    """What a program that links with it finds."""
    lines = run("nm", "--dynamic", "--defined-only", "--demangle", library).splitlines()
    return {line.split(" ", 2)[2] for line in lines}


def owner(symbol: str) -> str:
    """The class or function that a symbol belongs to: `kvcache::Model` of its member functions."""
    symbol = re.sub(r"^(?:typeinfo name|typeinfo|vtable) for ", "", symbol)
    name = re.match(r"(?:kvcache::)?\w+", symbol)
    return name[0] if name else symbol


@pytest.fixture(scope="module")
def library() -> Path:
    library = SHARED / "libkvcache.so"
    assert library.exists(), f"{library} does not exist: scripts/test builds it"
    return library


def test_shows_only_what_is_public(library: Path) -> None:
    shown = {owner(symbol) for symbol in shown_names(library)}
    assert shown == public_names()


def test_has_a_version(library: Path) -> None:
    version = re.search(r"^  VERSION (\d+\.\d+)(\.\d+)$", PROJECT, re.MULTILINE)
    assert version
    release, patch = version.groups()
    assert library.resolve().name == f"libkvcache.so.{release}{patch}"
    assert f"[libkvcache.so.{release}]" in run("readelf", "--dynamic", library)


def test_exceptions_reach_a_program(library: Path, tmp_path: Path) -> None:
    program = tmp_path / "consumer"
    compiler = os.environ.get("CXX", "c++").split()
    subprocess.run(
        [
            *(*compiler, "-std=c++20", f"-I{INCLUDE}", CONSUMER / "consumer.cpp", "-o", program),
            *(f"-L{SHARED}", "-lkvcache", f"-Wl,-rpath,{SHARED}"),
        ],
        check=True,
    )
    assert run(program) == "model_not_found\n"


@pytest.mark.full
def test_installed(tmp_path: Path) -> None:
    """Built as a distribution would: BUILD_SHARED_LIBS."""
    options = ("-DBUILD_SHARED_LIBS=ON", "-DKVCACHE_BUILD_TESTS=OFF")
    build(ROOT, tmp_path / "build", *options)
    cmake("--install", tmp_path / "build", "--prefix", tmp_path / "installed")
    prefix = f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'};{DEBIAN_ROOT / 'usr'}"
    build(CONSUMER, tmp_path / "consumer", prefix)
    assert run(tmp_path / "consumer" / "consumer") == "model_not_found\n"
    (installed,) = (tmp_path / "installed").glob("lib*/**/libkvcache.so")
    assert {owner(symbol) for symbol in shown_names(installed)} == public_names()
