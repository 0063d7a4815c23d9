"""ONNX Runtime for the build: the one that was named or installed, else .deps/onnxruntime."""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import python_environment
from paths import DEPS, ONNXRUNTIME_ROOT, ROOT, VENV
from steps import StepError, step

# The wheel that exports models holds the library and no headers. Those come from a package that
# carries them (MIT, as ONNX Runtime): of an older API level, which later libraries serve.
HEADERS_REQUIREMENTS = ROOT / "requirements-headers.txt"
HEADERS = re.compile(r"/onnxruntime-[0-9.]+/onnxruntime/core/session/(onnxruntime_\w+\.h)$")
LICENCES = ("LICENSE", "ThirdPartyNotices.txt", "Privacy.md")


def check() -> None:
    """Raise StepError where ONNXRUNTIME_ROOT_DIR names no directory."""
    chosen = os.environ.get("ONNXRUNTIME_ROOT_DIR")
    if chosen and not Path(chosen).is_dir():
        raise StepError(
            f"ONNXRUNTIME_ROOT_DIR names {chosen}, which is no directory",
            advice="Set it to a directory that holds include and lib, or unset it.",
        )


def is_there() -> bool:
    """Whether there is one already, of whatever version CMakeLists.txt takes."""
    chosen = os.environ.get("ONNXRUNTIME_ROOT_DIR")
    return bool(chosen or _installed() or (ONNXRUNTIME_ROOT / "VERSION_NUMBER").exists())


def provide(packages: Sequence[Path] = ()) -> None:
    """Say which ONNX Runtime is used, and make .deps/onnxruntime where that is the one.

    Args:
        packages: directories one of which has the package onnxruntime; none: that of .venv has.
    """
    with step("setup", "ONNX Runtime") as outcome:
        check()
        chosen = os.environ.get("ONNXRUNTIME_ROOT_DIR")
        installed = _installed()
        if chosen:
            outcome.text = f"{chosen}, as ONNXRUNTIME_ROOT_DIR says"
        elif installed:
            outcome.text = f"the one installed in {installed}"
        elif _make_root(packages or list(VENV.glob("lib/python3*/site-packages"))):
            outcome.text = "made .deps/onnxruntime"
        else:
            outcome.text = ".deps/onnxruntime in place"


def _installed() -> Path | None:
    """The prefix of an installed ONNX Runtime that CMakeLists.txt finds new enough."""
    lists = (ROOT / "CMakeLists.txt").read_text()
    wanted = re.search(r"KVCACHE_ONNXRUNTIME_VERSION 1\.(\d+)", lists)
    assert wanted, "CMakeLists.txt asks for a version of ONNX Runtime"
    for prefix in (Path("/usr/local"), Path("/usr")):
        for folder in ("include", "include/onnxruntime"):
            header = prefix / folder / "onnxruntime_c_api.h"
            if header.exists():
                has = re.search(r"^#define ORT_API_VERSION (\d+)", header.read_text(), re.MULTILINE)
                if has and int(has[1]) >= int(wanted[1]):
                    return prefix
    return None


def _make_root(packages: Sequence[Path]) -> bool:
    """Make .deps/onnxruntime, laid out as a release archive; False if it is there."""
    library = _wheel_library(packages)
    version = library.name.removeprefix("libonnxruntime.so.")
    stamp = ONNXRUNTIME_ROOT / "VERSION_NUMBER"
    if stamp.exists() and stamp.read_text() == f"{version}\n":
        return False

    with tempfile.TemporaryDirectory(dir=DEPS) as folder:
        root = Path(folder) / "root"
        (root / "lib").mkdir(parents=True)
        shutil.copy2(library, root / "lib")
        shutil.copy2(library.with_name("libonnxruntime_providers_shared.so"), root / "lib")
        (root / "lib" / "libonnxruntime.so.1").symlink_to(library.name)
        (root / "lib" / "libonnxruntime.so").symlink_to("libonnxruntime.so.1")
        for name in LICENCES:
            shutil.copy2(library.parents[1] / name, root)
        fetch_headers(root / "include")
        (root / "VERSION_NUMBER").write_text(f"{version}\n")
        if ONNXRUNTIME_ROOT.exists():
            shutil.rmtree(ONNXRUNTIME_ROOT)
        root.rename(ONNXRUNTIME_ROOT)
    return True


def _wheel_library(packages: Sequence[Path]) -> Path:
    pattern = "onnxruntime/capi/libonnxruntime.so.*"
    library = next((path for folder in packages for path in folder.glob(pattern)), None)
    if library is None:
        raise StepError(
            f"the onnxruntime wheel in {', '.join(map(str, packages))} holds no"
            f" {Path(pattern).name}",
            advice="Set ONNXRUNTIME_ROOT_DIR to an unpacked release of ONNX Runtime.",
        )
    return library


def fetch_headers(include: Path) -> None:
    """Fetch ONNX Runtime's headers into a new directory."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            python_environment.download(HEADERS_REQUIREMENTS, Path(folder))
        except StepError as error:
            error.advice += (
                f"\nONNX Runtime's headers come from the package in {HEADERS_REQUIREMENTS.name}."
                " Without it, set ONNXRUNTIME_ROOT_DIR to an unpacked release of ONNX Runtime."
            )
            raise
        unpack_headers(next(Path(folder).glob("*.whl")), include)


def unpack_headers(wheel: Path, include: Path) -> None:
    """Unpack ONNX Runtime's headers from a wheel that carries them."""
    include.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            header = HEADERS.search(member)
            if header:
                (include / header[1]).write_bytes(archive.read(member))
    if not (include / "onnxruntime_cxx_api.h").exists():
        raise StepError(f"{wheel.name} holds no ONNX Runtime headers")
