"""scripts/test: set up, build, run every check and count them."""

import argparse
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import browser
import build
import build_site
import cuda
import disk
import python_environment
import toolchain
from clang_tidy import ClangTidy
from export import Source, export_together, is_exported
from fuzz import run_fuzzers
from paths import BUILD, CUDA_BUILD, GOLDENS, PYTHON, ROOT, VENV
from results import Results, check, read_junit
from setup import setup
from steps import StepError, main, run, say, step

CLANG_TIDY_VERSION = 14  # another one warns of other things
CLANG_TIDY = f"clang-tidy-{CLANG_TIDY_VERSION}"
CPP_FOLDERS = ["include", "src", "cli", "python", "tests", "bench", "examples"]
CPP_SUFFIXES = {".hpp", ".cpp", ".cuh", ".cu", ".h", ".c"}
GOLDEN_MODELS = BUILD / "goldens"
FAMILY_GOLDENS = GOLDENS / "families"  # GPT-2's are beside it
FAMILY_MODELS = BUILD / "goldens-families"
TIDY = BUILD / "clang-tidy"  # the sources as clang-tidy reads them
MOST_SHARDS = 4  # of the C++ tests: some of them use several threads
NARROW_MODELS = {  # the same models otherwise, mostly narrower: the exporter's options
    "float16": ("--dtype", "float16"),  # most of it on ONNX Runtime's own threads
    "float16 weights": ("--weights", "float16"),
    "bfloat16 products": ("--weights", "bfloat16", "--activations", "bfloat16"),
    "int8 weights": ("--weights", "int8"),
    "int4 weights": ("--weights", "int4"),
    "uint4 weights": ("--weights", "uint4"),
    "an int8 cache": ("--cache-dtype", "int8"),
    "hidden states": ("--hidden-states",),
}
MORE_NARROW_MODELS = {
    "uint4 weights everywhere": (
        *("--weights", "uint4", "--weights-overrides"),
        str(GOLDENS / "uint4_everywhere.json"),
    ),
    "bfloat16 weights": ("--weights", "bfloat16"),
    "int4 weights (dequantised)": ("--weights", "int4", "--activations", "float32"),
    "a float16 cache": ("--cache-dtype", "float16"),
    "a bfloat16 cache": ("--cache-dtype", "bfloat16"),
}
GPU_MODELS = {  # of the narrow ones, what has kernels of its own there
    "float16": ("--dtype", "float16"),
    "bfloat16": ("--dtype", "bfloat16"),
    **{
        name: NARROW_MODELS[name]
        for name in ("int8 weights", "int4 weights", "an int8 cache", "hidden states")
    },
}
TESTS_OF_MODELS = (  # the others know nothing of a model's types
    "Batch.*:Greedy.*:History.*:InvarianceOfAModel.*:LargeActivations.*:Load.*"
    ":LogitsOfAModel.*:PlainRuntime.*:PrefixCacheOfAModel.*:Targets/Invariance.*:Tree.*"
    ":WindowedSequence.*:Goldens/*"
)
FAULTS_OF_MODELS = ":Faults.*"  # one call after the other fails; with --full over narrow models too
TESTS_OF_FAMILIES = (  # of those, the ones that want no model by name
    "Batch.*:Greedy.*:History.*:LogitsOfAModel.*:PlainRuntime.*:Targets/Invariance.*:Tree.*"
    ":WindowedSequence.EqualsAPlainForward*:Goldens/*"
)
MANY_CASES = {  # 1,000 random trees, batches and histories, 200 killed processes
    "KVCACHE_TEST_SCALE": "50",
    "KVCACHE_TEST_KILLS": "200",
}
LONG_HISTORIES = {"KVCACHE_TEST_SECONDS": "600"}  # of two threads side by side
FUZZER_SECONDS = 60  # of each
HALF_THE_CASES = {"KVCACHE_TEST_SCALE": "0.5"}
FEWER_CASES = {"KVCACHE_TEST_SCALE": "0.2"}  # under sanitisers, which make each three times as long
# Without the thousands of steps that wait for a GPU to err.
EMULATED_CASES = {**FEWER_CASES, "GTEST_FILTER": "-*SameBits*"}
# Builds that are made to check: joined, sources share the time that large headers take, and the
# kernels are compiled for AVX2 alone, where the processor has it. The others are tested in the
# build that is released: they differ in the width of their vectors and in how partial ones are
# loaded, and AVX-512 in its integer products. With --full it is all of them, and before clang-tidy
# each source stands alone.
JOINED = {
    "CMAKE_UNITY_BUILD": "ON",
    "CMAKE_UNITY_BUILD_BATCH_SIZE": "32",
    "KVCACHE_WITHOUT_TARGETS": "HWY_SSE4;HWY_AVX3;HWY_AVX3_DL",
}
OF_EACH_CORE = {"CMAKE_UNITY_BUILD_BATCH_SIZE": "80"}  # half of the library, for clang-tidy
# With every check of the sanitisers and for every target, 32 would take more memory than jobs()
# allows a compiler.
EVERY_TARGET = {"KVCACHE_WITHOUT_TARGETS": "", "CMAKE_UNITY_BUILD_BATCH_SIZE": "16"}
EACH = {"CMAKE_UNITY_BUILD": "OFF", **EVERY_TARGET}
# Of the narrow models, those that sanitisers run over: each kind of kernel once.
SANITIZED_MODELS = ("bfloat16 products", "int8 weights", "int4 weights", "an int8 cache")
TEST_ENVIRONMENT = {
    "KVCACHE_GOLDENS_DIR": str(GOLDENS),
    "KVCACHE_MODELS_DIR": str(GOLDEN_MODELS),
    "TSAN_OPTIONS": f"suppressions={ROOT / 'tests' / 'thread_sanitizer.supp'}",
}


def run_checks(*, full: bool) -> Results:
    """Run every check, whatever came of those before; `full` adds the slow ones."""
    results = Results()
    _provide_xgrammar()
    if full:
        _provide("Ray", "requirements-ray.txt", "ray-requirements")
        _provide("CUDA's headers", "requirements-emulation.txt", "emulation-requirements")
    _provide("Sphinx", "requirements-site.txt", build_site.STAMP)
    browser.provide()
    results.add(_command("ruff check", [VENV / "bin" / "ruff", "check", "."]))
    results.add(_command("ruff format", [VENV / "bin" / "ruff", "format", "--check", "."]))
    results.add(_clang_format())
    results.add(check("build", _build_release))
    narrow_models = {**NARROW_MODELS, **(MORE_NARROW_MODELS if full else {})}
    results.add(check("models of tests/goldens", lambda: _export_goldens(narrow_models)))
    results.add(_gtest("C++ tests", BUILD))
    cases = None if full else HALF_THE_CASES
    results.add(_tests_of_models("C++ tests", BUILD, narrow_models, cases, full=full))
    results.add(_tests_of_families("C++ tests", BUILD, cases))
    results.add(_c_tests("tests from C", BUILD))
    results.add(_clang_tidy(full=full))
    results.add(_sanitizer_tests("address,undefined", ROOT / "build-asan", full=full))
    if full:
        results.add(_emulated_gpu_tests())
        results.add(_gtest("C++ tests with fifty times the random cases", BUILD, MANY_CASES))
        results.add(_sanitizer_tests("thread", ROOT / "build-tsan", LONG_HISTORIES, full=full))
        results.add(run_fuzzers(FUZZER_SECONDS))
    results.add(_pytest(full=full))
    results.add(_without_gpu())
    return results


def run_gpu_checks() -> Results:
    """Run the C++ tests on this machine's GPU; none is skipped for want of one."""
    results = Results()
    with step("test", "GPU") as outcome:
        outcome.text = cuda.require_gpu()
    options = cuda.build_options()
    built = check(
        f"build in {CUDA_BUILD.name}/", lambda: _build(CUDA_BUILD, "kvcache_tests", **options)
    )
    results.add(built)
    if built.failed:
        return results
    results.add(check("models of tests/goldens", lambda: _export_goldens(GPU_MODELS)))
    name, on_gpu = "C++ tests on the GPU", {"KVCACHE_REQUIRE_GPU": "1"}
    results.add(_gtest(name, CUDA_BUILD, on_gpu))
    results.add(_tests_of_models(name, CUDA_BUILD, GPU_MODELS, on_gpu, full=False))
    results.add(_tests_of_families(name, CUDA_BUILD, on_gpu))
    return results


def _provide(what: str, requirements: str, stamp: str, *options: str) -> None:
    """Install packages that some tests need; where they cannot be had, those are skipped."""
    try:
        with step("test", f"{what} in .venv") as outcome:
            if not python_environment.install([ROOT / requirements], stamp, *options):
                outcome.text = "in place"
    except StepError as error:
        say(error)


def _provide_xgrammar() -> None:
    """What grammars are compiled with."""
    _provide("xgrammar", "requirements-grammar.txt", "grammar-requirements", "--no-deps")
    for found in (VENV / "lib").glob("python3*/site-packages/xgrammar"):
        os.environ["KVCACHE_XGRAMMAR_DIR"] = str(found.parent)


def _command(name: str, command: Sequence[str | Path]) -> Results:
    def work() -> None:
        run(command, cwd=ROOT)

    return check(name, work)


def _clang_tidy_program() -> str | None:
    """clang-tidy of the version that the repository is checked with, if there."""
    for program in filter(None, map(shutil.which, (CLANG_TIDY, "clang-tidy"))):
        if re.search(rf"version {CLANG_TIDY_VERSION}\.", run([program, "--version"])):
            return program
    return None


def _without_gpu() -> Results:
    """What this build leaves out, counted: the tests of the CUDA kernels."""
    sources = (ROOT / "tests").glob("*/cuda/*_test.cpp")
    names = [
        name
        for source in sources
        for name in re.findall(r"^TEST\w*\((.*)\)", source.read_text(), re.M)
    ]
    reason = "built without USE_CUDA; scripts/test --cuda runs it on a GPU"
    return Results(skipped=[f"{name.replace(', ', '.')} ({reason})" for name in names])


def _clang_format() -> Results:
    sources = [
        *ROOT.glob("*.cpp"),
        *(
            path
            for folder in CPP_FOLDERS
            for path in (ROOT / folder).rglob("*")
            if path.suffix in CPP_SUFFIXES
        ),
    ]
    return _command(
        "clang-format", [VENV / "bin" / "clang-format", "--dry-run", "-Werror", *sorted(sources)]
    )


def _clang_tidy(*, full: bool) -> Results:
    program = _clang_tidy_program()
    if program is None:
        reason = (
            f"version {CLANG_TIDY_VERSION} is not installed; the packages {CLANG_TIDY} of Debian 12"
            " and Ubuntu 22.04 and 24.04 are"
        )
        return Results(skipped=[f"clang-tidy ({reason})"])

    def work() -> str:
        build.configure(
            TIDY,
            "Release",
            # Tests, programs and examples take more than half of the time.
            KVCACHE_BUILD_TESTS="ON" if full else "OFF",
            KVCACHE_BUILD_CLI="ON" if full else "OFF",
            KVCACHE_BUILD_EXAMPLES="ON" if full else "OFF",
            KVCACHE_BUILD_PYTHON="ON" if full else "OFF",
            **(EACH if full else JOINED | OF_EACH_CORE),
            CMAKE_CXX_FLAGS="" if full else shlex.join(toolchain.avx2_flags()),
        )
        checked, findings = ClangTidy(program, TIDY).check()
        if findings:
            raise StepError(f"clang-tidy warns in {len(findings)} files", output="".join(findings))
        return f"ok, {checked} files changed"

    return check("clang-tidy", work)


def _build(directory: Path, *targets: str, **options: str) -> str:
    why = build.configure(directory, "Release", **options)
    build.build(directory, *targets)
    return f"ok ({why})" if why else "ok"


def _build_release() -> str:
    return _build(BUILD, KVCACHE_BUILD_PYTHON="ON")


def _export_goldens(narrow_models: Mapping[str, Sequence[str]]) -> str:
    waiting = [
        (Source("--model", str(path), others), models / path.name)
        for path in _goldens(GOLDENS)
        for models, others in (
            (GOLDEN_MODELS, ()),
            *((_models_with(name), options) for name, options in narrow_models.items()),
        )
    ]
    waiting += [
        (Source("--model", str(path)), FAMILY_MODELS / path.name)
        for path in _goldens(FAMILY_GOLDENS)
    ]
    waiting = [(source, output) for source, output in waiting if not is_exported(source, output)]
    export_together(waiting, build.jobs())
    return f"ok, {len(waiting)} exported"


def _goldens(directory: Path) -> list[Path]:
    return sorted(path.parent for path in directory.glob("*/golden.json"))


def _tests_of_families(
    name: str, directory: Path, environment: Mapping[str, str] | None = None
) -> Results:
    """Run the tests of models over the goldens of the other families."""
    goldens = {**(environment or {}), "KVCACHE_GOLDENS_DIR": str(FAMILY_GOLDENS)}
    name = f"{name} with other families"
    return _tests_over(FAMILY_MODELS, TESTS_OF_FAMILIES, name, directory, goldens)


def _models_with(narrow: str) -> Path:
    name = re.sub("[^a-z0-9]+", "-", re.sub("^an? ", "", narrow))
    return BUILD / f"goldens-{name.strip('-')}"


def _tests_of_models(
    name: str,
    directory: Path,
    narrow_models: Iterable[str],
    environment: Mapping[str, str] | None = None,
    *,
    full: bool,
) -> Results:
    """Run the tests of models over each of the narrow ones."""
    tests = TESTS_OF_MODELS + (FAULTS_OF_MODELS if full else "")
    results = Results()
    for narrow in narrow_models:
        models, with_these = _models_with(narrow), f"{name} with {narrow}"
        results.add(_tests_over(models, tests, with_these, directory, environment))
    return results


def _tests_over(
    models: Path,
    tests: str,
    name: str,
    directory: Path,
    environment: Mapping[str, str] | None,
) -> Results:
    """Run these of a build's tests, over the models in a directory."""
    chosen = {"KVCACHE_MODELS_DIR": str(models), "GTEST_FILTER": tests}
    return _gtest(name, directory, {**(environment or {}), **chosen})


def _sanitizer_tests(
    sanitizers: str,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    *,
    full: bool,
) -> Results:
    """Build the C++ tests with sanitisers and run them.

    Args:
        environment: of the run over all tests.
        full: for every instruction set, as many random cases as without sanitisers, and those of
            models over narrow ones too.
    """

    def work() -> None:
        build.configure(
            directory,
            "None",
            CMAKE_CXX_FLAGS=shlex.join(
                ("-O1", "-g1") if full else ("-Og", "-g1", *toolchain.avx2_flags())
            ),
            KVCACHE_SANITIZE=sanitizers,
            KVCACHE_SANITIZE_QUICKLY="OFF" if full else "ON",
            KVCACHE_BUILD_CLI="OFF",
            KVCACHE_BUILD_EXAMPLES="OFF",
            **(JOINED | EVERY_TARGET if full else JOINED),
            KVCACHE_WARNINGS_AS_ERRORS="OFF",  # sanitisers make GCC warn of what is not there
        )
        build.build(directory, "kvcache_tests", "kvcache_c_tests")

    built = check(f"build with sanitisers {sanitizers}", work)
    if built.failed:
        return built
    name = f"C++ tests with sanitisers {sanitizers}"
    built.add(_gtest(name, directory, environment or (None if full else FEWER_CASES)))
    built.add(_c_tests(f"tests from C with sanitisers {sanitizers}", directory))
    if full:
        built.add(_tests_of_models(name, directory, SANITIZED_MODELS, full=full))
    return built


def _emulated_gpu_tests() -> Results:
    """Run the tests of the kernels that tests/emulation takes."""
    name = "CUDA kernels on an emulated GPU"
    headers = next(VENV.glob("lib/python3*/site-packages/nvidia/cu13/include"), None)
    if headers is None:
        return Results(skipped=[f"{name} (CUDA's headers could not be had)"])
    program = "kvcache_emulated_tests"
    options = {"KVCACHE_BUILD_PYTHON": "ON", "KVCACHE_CUDA_HEADERS": str(headers)}
    results = check("build with an emulated GPU", lambda: _build(BUILD, program, **options))
    if not results.failed:
        results.add(_gtest(name, BUILD, EMULATED_CASES, program))
    return results


def _gtest(
    name: str,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    program: str = "kvcache_tests",
) -> Results:
    return run_tests(
        name,
        directory,
        lambda report: [
            directory / program,
            "--gtest_brief=1",
            f"--gtest_output=xml:{report}",
        ],
        environment,
        shards=min(build.jobs(), MOST_SHARDS),
    )


def _c_tests(name: str, directory: Path) -> Results:
    """Run the tests of kvcache.h from C, each a process of its own."""
    ctest = Path(toolchain.cmake()).with_name("ctest")
    of_c = ["--test-dir", directory / "tests" / "c", "--output-on-failure", "--no-tests=error"]
    side_by_side = ["--parallel", str(build.jobs())]
    return run_tests(
        name, directory, lambda report: [ctest, *of_c, *side_by_side, "--output-junit", report]
    )


def _pytest(*, full: bool) -> Results:
    # A file's tests stay in one process, for they share what is slow to make.
    side_by_side = ["--numprocesses", str(build.jobs()), "--dist", "loadfile"]
    which = [] if full else ["-m", "not full"]
    command = [PYTHON, "-m", "pytest", "--quiet", *side_by_side, *which]
    tests = ROOT / "tests"
    return run_tests(
        "Python tests", BUILD, lambda report: [*command, f"--junitxml={report}", tests]
    )


def run_tests(
    name: str,
    directory: Path,
    command: Callable[[Path], Sequence[str | Path]],
    environment: Mapping[str, str] | None = None,
    *,
    shards: int = 1,
) -> Results:
    """Run a test program and count what its JUnit report holds.

    Args:
        shards: processes side by side that share GoogleTest's tests.
    """
    stem = re.sub("[^a-z0-9]+", "-", name.lower())

    def run_shard(shard: int) -> tuple[Results, StepError | None]:
        report = directory / (f"{stem}-{shard}.xml" if shards > 1 else f"{stem}.xml")
        report.unlink(missing_ok=True)
        problem = None
        share = {"GTEST_TOTAL_SHARDS": str(shards), "GTEST_SHARD_INDEX": str(shard)}
        settings = {**TEST_ENVIRONMENT, **(environment or {}), **(share if shards > 1 else {})}
        try:
            run(command(report), cwd=ROOT, environment=settings)
        except StepError as error:
            problem = error
        counted = read_junit(report, name) if report.exists() else Results()
        if problem and not counted.failed:  # it crashed, or a sanitiser spoke at its end
            counted.failed.append(f"{name}: {problem.problem}")
        return counted, problem

    results = Results()
    with step("test", name) as outcome, ThreadPoolExecutor(shards) as pool:
        ends = list(pool.map(run_shard, range(shards)))
        for counted, _ in ends:
            results.add(counted)
        if not results.ran:  # a filter that names no test any more
            results.failed.append(f"{name}: no test ran")
        outcome.text = str(results)
    results.seconds[name] = outcome.seconds
    for _, problem in ends:
        if problem:
            say(problem)
    return results


def conclude(results: Results) -> int:
    """Print times, what was skipped and failed and, last and alone, the counts.

    Returns:
        The exit status.
    """
    longest_first = sorted(results.seconds.items(), key=lambda entry: -entry[1])
    for name, seconds in longest_first:
        say(f"{seconds:7.1f} s  {name}")
    if longest_first:
        say(f"{sum(results.seconds.values()):7.1f} s  in all")
    for text in results.skipped:
        say(f"skipped: {text}")
    for text in results.failed:
        say(f"FAILED: {text}")
    if not results.ran:
        say("no test ran")
    say(results)
    return 0 if results.ran and not results.failed else 1


def _command_line() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/test",
        description="Sets up what is missing, builds, runs every check and every test, and ends"
        " with one line of counts. The exit status is 0 when something ran and nothing failed.",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="also the slow ones: the thread sanitiser, fifty times the random cases, models with"
        " more types of weights and cache, the fuzzers, sanitisers and clang-tidy over every"
        " instruction set and each source by itself, clang-tidy over the tests, as many random"
        " cases with sanitisers as without, over all narrow models, and the tests marked full",
    )
    parser.add_argument(
        "--cuda",
        action="store_true",
        help="instead, build for CUDA in build-cuda/ and run the C++ tests on the GPU, over models"
        " of each type; what is missing for it is an error",
    )
    arguments = parser.parse_args()
    if arguments.full and arguments.cuda:
        parser.error("--full and --cuda are two runs; give one of them")
    disk.announce("test", disk.TEST, minutes=20)
    python_environment.check_headers()
    setup()
    return conclude(run_gpu_checks() if arguments.cuda else run_checks(full=arguments.full))


if __name__ == "__main__":
    main(_command_line)
