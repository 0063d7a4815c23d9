"""What fails is told in full and counted: C++ tests, tests in Python, the compiler."""

import sys
from pathlib import Path

import build
import checks
import pytest
from paths import BUILD
from results import Results, check

Output = pytest.CaptureFixture[str]


def expect_failure(results: Results, output: Output, name: str, *told: str) -> None:
    """The exit status says it, the last line counts it, and what was printed shows why."""
    assert checks.conclude(results) == 1
    printed = output.readouterr().out
    assert printed.splitlines()[-2:] == [f"FAILED: {name}", str(results)]
    for text in told:
        assert text in printed


def test_of_a_cpp_test(tmp_path: Path, capsys: Output) -> None:
    """One that wants a model, and there are none."""
    program = BUILD / "kvcache_tests"
    if not program.exists():
        pytest.skip("build/ holds no tests yet")
    results = checks.run_tests(
        "C++ tests",
        tmp_path,
        lambda report: [program, "--gtest_brief=1", f"--gtest_output=xml:{report}"],
        {
            "KVCACHE_MODELS_DIR": str(tmp_path / "none"),
            "GTEST_FILTER": "Greedy.TellsOfEachTokenInOrder:Utf8.ReadsWhatItWrites",
        },
        shards=2,
    )
    assert str(results) == "1 passed, 1 failed, 0 skipped"
    name = "Greedy.TellsOfEachTokenInOrder"
    expect_failure(results, capsys, f"C++ tests: {name}", name, str(tmp_path / "none"))


def test_of_a_python_test(tmp_path: Path, capsys: Output) -> None:
    source = tmp_path / "test_sums.py"
    source.write_text("def test_good():\n    pass\n\ndef test_bad():\n    assert 1 + 1 == 3\n")
    results = checks.run_tests(
        "Python tests",
        tmp_path,
        lambda report: [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", source],
    )
    assert str(results) == "1 passed, 1 failed, 0 skipped"
    expect_failure(results, capsys, results.failed[0], "assert (1 + 1) == 3", "test_sums.py:5")


def test_of_the_compiler(tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(p LANGUAGES CXX)\nadd_executable(p p.cpp)\n"
    )
    (tmp_path / "p.cpp").write_text("int main() { return nothing_of_that_name; }\n")

    def work() -> None:
        build.configure(tmp_path / "build", "Release")
        build.build(tmp_path / "build")

    told = ("[test] build ... failed", "nothing_of_that_name", "p.cpp:1")
    expect_failure(check("build", work), capsys, "build", *told)
