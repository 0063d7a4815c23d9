"""scripts/setup: fetch what the build needs and the machine lacks, once."""

import argparse
import shlex

import cpp_libraries
import cuda
import disk
import onnx_runtime
import python_environment
import toolchain
from paths import DEPS, ROOT
from steps import check_all, main, step

REQUIREMENTS = [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
BUILD_REQUIREMENTS = [ROOT / "requirements-build.txt"]


def setup() -> None:
    """Do every step; each does nothing when its result is there."""
    with step("setup", "C++ compiler") as outcome:
        # All that is missing is told at once, and before anything is fetched.
        check_all(
            toolchain.compiler,
            python_environment.check,
            cpp_libraries.check,
            onnx_runtime.check,
        )
        outcome.text = shlex.join(toolchain.compiler())
    DEPS.mkdir(exist_ok=True)
    with step("setup", "Python packages in .venv") as outcome:
        if not python_environment.install(REQUIREMENTS, "requirements"):
            outcome.text = "in place"
    _build_tools()
    cpp_libraries.provide()
    onnx_runtime.provide()


def _build_tools() -> None:
    with step("setup", "cmake and ninja") as outcome:
        if toolchain.machine_cmake() and toolchain.machine_ninja():
            outcome.text = "the machine's"
        elif not python_environment.install(BUILD_REQUIREMENTS, "build-requirements"):
            outcome.text = "in place in .venv"


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
  CXX                      the C++ compiler, with flags if need be: CXX="g++-12 -m64"
  CUDACXX                  with --cuda: the CUDA compiler
  KVCACHE_JOBS             how many compilers run side by side
  KVCACHE_SETUP_NO_ROOT=1  install nothing with apt-get, even where root""",
    )
    parser.add_argument(
        "--cuda",
        action="store_true",
        help="also what a build with -DUSE_CUDA=ON needs: looks for nvcc and CUDA's libraries, and"
        " puts ONNX Runtime with its CUDA provider into .deps/onnxruntime-cuda",
    )
    arguments = parser.parse_args()
    disk.announce("setup", disk.SETUP, minutes=1)
    setup()
    if arguments.cuda:
        cuda.provide()
    return 0


if __name__ == "__main__":
    main(_command)
