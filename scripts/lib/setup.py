"""scripts/setup: fetch what the build needs and the machine lacks, once."""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import cuda
import debian
import toolchain
from paths import DEBIAN_ROOT, DEPS, ONNXRUNTIME_ROOT, PYTHON, ROOT, VENV
from steps import StepError, main, run, step

REQUIREMENTS = [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
BUILD_REQUIREMENTS = ROOT / "requirements-build.txt"

# Each C++ library: Debian's package and a header that shows it is there.
LIBRARIES = {
    "libhwy-dev": "hwy/highway.h",
    "nlohmann-json3-dev": "nlohmann/json.hpp",
    "libcli11-dev": "CLI/CLI.hpp",
    "libfmt-dev": "fmt/format.h",
    "libxxhash-dev": "xxhash.h",
    "libgtest-dev": "gtest/gtest.h",
}

# The headers are those of this suite of Debian. Their API level is older than the library's, which
# ONNX Runtime promises to serve.
HEADERS_SUITE = "trixie"
HEADERS_PACKAGE = "libonnxruntime-dev"


def setup() -> None:
    """Do every step; each does nothing when its result is there."""
    DEPS.mkdir(exist_ok=True)
    with step("setup", "C++ compiler") as outcome:
        outcome.text = toolchain.compiler()
    _python_environment()
    _build_tools()
    install_libraries()
    provide_onnx_runtime()


def _python_environment() -> None:
    with step("setup", "Python packages in .venv") as outcome:
        if not _pip_install(REQUIREMENTS, "requirements"):
            outcome.text = "in place"


def _build_tools() -> None:
    with step("setup", "cmake and ninja") as outcome:
        if toolchain.machine_cmake() and toolchain.machine_ninja():
            outcome.text = "the machine's"
        elif not _pip_install([BUILD_REQUIREMENTS], "build-requirements"):
            outcome.text = "in place in .venv"


def _pip_install(requirements: list[Path], name: str) -> bool:
    """Install pinned requirements into .venv; False when that was done before."""
    stamp = VENV / f".{name}-installed"
    wanted = _digest([str(VENV), sys.version, *(path.read_text() for path in requirements)])
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    if not _venv_works():
        _make_venv()
    files = [word for path in requirements for word in ("-r", path)]
    run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *files],
        advice="Is a Python package index in reach? Once it is, run the command again.",
    )
    stamp.write_text(wanted)
    return True


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _venv_works() -> bool:
    try:
        prefix = run([PYTHON, "-c", "import sys; print(sys.prefix, sys.version)"])
    except StepError:
        return False
    return prefix == f"{VENV} {sys.version}\n"


def _make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        if not (debian.has_apt() and debian.may_install()):
            raise StepError(
                "this Python cannot make virtual environments (it lacks the module ensurepip)",
                advice="On Debian and Ubuntu: apt-get install python3-venv",
            )
        debian.install(["python3-venv"])
    run([sys.executable, "-m", "venv", "--clear", VENV])


def install_libraries() -> None:
    """Install or unpack the C++ libraries that are missing."""
    with step("setup", "C++ libraries") as outcome:
        missing = missing_libraries()
        if not missing:
            outcome.text = "in place"
        elif not debian.has_apt():
            raise StepError(
                f"C++ libraries are missing: {', '.join(missing)} (Debian's names)",
                advice="Install them with this machine's package manager; where they are in a"
                " place of their own, name it in the environment variable CMAKE_PREFIX_PATH.",
            )
        elif debian.may_install():
            debian.install(missing)
            outcome.text = f"installed {' '.join(missing)}"
        else:
            unpack_libraries(missing)
            outcome.text = f"unpacked {' '.join(missing)} into .deps/debian"


def missing_libraries() -> list[str]:
    """The packages of those libraries whose header is in none of the places CMake looks into."""
    named = filter(None, os.environ.get("CMAKE_PREFIX_PATH", "").split(os.pathsep))
    prefixes = [*map(Path, named), Path("/usr/local"), Path("/usr"), DEBIAN_ROOT / "usr"]
    return [
        package
        for package, header in LIBRARIES.items()
        if not any((prefix / "include" / header).exists() for prefix in prefixes)
    ]


def unpack_libraries(packages: list[str]) -> None:
    """Fetch Debian packages and unpack them into .deps/debian, without root."""
    with tempfile.TemporaryDirectory() as folder:
        apt = debian.PrivateApt(Path(folder))
        apt.update()
        apt.download_missing(packages)
        apt.unpack(DEBIAN_ROOT)
    debian.complete_links(DEBIAN_ROOT)


def provide_onnx_runtime() -> None:
    """Say which ONNX Runtime is used, and make .deps/onnxruntime where that is the one."""
    with step("setup", "ONNX Runtime") as outcome:
        chosen = os.environ.get("ONNXRUNTIME_ROOT_DIR")
        installed = _installed_onnx_runtime()
        if chosen:
            if not Path(chosen).is_dir():
                raise StepError(
                    f"ONNXRUNTIME_ROOT_DIR names {chosen}, which is no directory",
                    advice="Set it to a directory that holds include and lib, or unset it.",
                )
            outcome.text = f"{chosen}, as ONNXRUNTIME_ROOT_DIR says"
        elif installed:
            outcome.text = f"the one installed in {installed}"
        elif _make_onnx_runtime_root():
            outcome.text = "made .deps/onnxruntime"
        else:
            outcome.text = ".deps/onnxruntime in place"


def _installed_onnx_runtime() -> Path | None:
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


def _make_onnx_runtime_root() -> bool:
    """Make .deps/onnxruntime of the wheel's library and Debian's headers; False if it is there."""
    library = _wheel_library()
    version = library.name.removeprefix("libonnxruntime.so.")
    stamp = ONNXRUNTIME_ROOT / "VERSION_NUMBER"  # as in ONNX Runtime's release archives
    if stamp.exists() and stamp.read_text() == f"{version}\n":
        return False

    with tempfile.TemporaryDirectory(dir=DEPS) as folder:
        root = Path(folder) / "root"
        (root / "lib").mkdir(parents=True)
        shutil.copy2(library, root / "lib")
        shutil.copy2(library.with_name("libonnxruntime_providers_shared.so"), root / "lib")
        (root / "lib" / "libonnxruntime.so.1").symlink_to(library.name)
        (root / "lib" / "libonnxruntime.so").symlink_to("libonnxruntime.so.1")
        shutil.copytree(_fetch_headers(Path(folder)), root / "include")
        (root / "VERSION_NUMBER").write_text(f"{version}\n")
        if ONNXRUNTIME_ROOT.exists():
            shutil.rmtree(ONNXRUNTIME_ROOT)
        root.rename(ONNXRUNTIME_ROOT)
    return True


def _wheel_library() -> Path:
    pattern = "lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*"
    library = next(VENV.glob(pattern), None)
    if library is None:
        raise StepError(
            f"the onnxruntime wheel in {VENV} holds no {Path(pattern).name}",
            advice="Set ONNXRUNTIME_ROOT_DIR to an unpacked release of ONNX Runtime.",
        )
    return library


def _fetch_headers(folder: Path) -> Path:
    """Fetch ONNX Runtime's headers below `folder`; return the directory that holds them."""
    try:
        apt = debian.PrivateApt(folder / "apt", debian.source_line(HEADERS_SUITE))
        apt.update()
        apt.download(HEADERS_PACKAGE)
        apt.unpack(folder / "headers")
    except StepError as error:
        error.advice = (
            f"ONNX Runtime's headers come from the package {HEADERS_PACKAGE} of Debian"
            f" {HEADERS_SUITE}. Without it, set ONNXRUNTIME_ROOT_DIR to an unpacked release of"
            " ONNX Runtime."
        )
        raise
    return folder / "headers" / "usr" / "include" / "onnxruntime"


def _command() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/setup",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Fetches what the build needs and the machine lacks: Python packages into .venv, ONNX Runtime into
.deps/onnxruntime, C++ libraries by apt-get or, where not root, into .deps/debian. What is there is
left alone; a second run needs no network. scripts/benchmark and scripts/test do this first.""",
        epilog="""\
environment:
  ONNXRUNTIME_ROOT_DIR     use this ONNX Runtime (a directory that holds include and lib)
  CMAKE_PREFIX_PATH        further places to find C++ libraries in
  CXX                      the C++ compiler
  CUDACXX                  with --cuda: the CUDA compiler
  KVCACHE_SETUP_NO_ROOT=1  install nothing with apt-get, even where root""",
    )
    parser.add_argument(
        "--cuda",
        action="store_true",
        help="also what a build with -DUSE_CUDA=ON needs: looks for nvcc and CUDA's libraries, and"
        " puts ONNX Runtime with its CUDA provider into .deps/onnxruntime-cuda",
    )
    arguments = parser.parse_args()
    setup()
    if arguments.cuda:
        cuda.provide()
    return 0


if __name__ == "__main__":
    main(_command)
