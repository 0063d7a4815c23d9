"""Counting: the line that scripts/test ends with."""

import itertools
import re
from pathlib import Path

import checks
import pytest
from paths import ROOT
from results import Results, read_junit

GTEST = """\
<testsuites tests="4" failures="1" disabled="1" errors="0">
  <testsuite name="Pool">
    <testcase name="Grows" status="run" result="completed" classname="Pool" />
    <testcase name="Shares" status="run" result="completed" classname="Pool">
      <failure message="a&#x0A;b" type=""><![CDATA[a]]></failure>
    </testcase>
    <testcase name="Gpu" status="run" result="skipped" classname="Pool">
      <skipped message="/x/pool_test.cpp:7&#x0A;no GPU here&#x0A;" />
    </testcase>
    <testcase name="DISABLED_Slow" status="notrun" result="suppressed" classname="Pool" />
  </testsuite>
</testsuites>
"""

PYTEST = """\
<testsuites><testsuite name="pytest">
  <testcase classname="tests.a" name="test_good" time="0.1" />
  <testcase classname="tests.a" name="test_fixture"><error message="boom">trace</error></testcase>
  <testcase classname="tests.a" name="test_hub">
    <skipped type="pytest.skip" message="no network">a.py:1: no network</skipped>
  </testcase>
</testsuite></testsuites>
"""


def read(tmp_path: Path, text: str) -> Results:
    report = tmp_path / "report.xml"
    report.write_text(text)
    return read_junit(report, "suite")


def test_googletest_report(tmp_path: Path) -> None:
    results = read(tmp_path, GTEST)
    assert str(results) == "1 passed, 1 failed, 2 skipped"
    assert results.failed == ["suite: Pool.Shares"]
    assert results.skipped == [
        "suite: Pool.Gpu (no GPU here)",
        "suite: Pool.DISABLED_Slow (disabled)",
    ]


def test_pytest_report(tmp_path: Path) -> None:
    results = read(tmp_path, PYTEST)
    assert str(results) == "1 passed, 1 failed, 1 skipped"
    assert results.skipped == ["suite: tests.a.test_hub (no network)"]


def test_results_add_up(tmp_path: Path) -> None:
    results = Results(passed=2)
    results.add(read(tmp_path, GTEST))
    results.add(read(tmp_path, PYTEST))
    assert str(results) == "4 passed, 2 failed, 3 skipped"


@pytest.mark.parametrize(
    ("results", "status"),
    [
        pytest.param(Results(passed=3, skipped=["x"]), 0, id="all passed"),
        pytest.param(Results(passed=3, failed=["x"]), 1, id="one failed"),
        pytest.param(Results(), 1, id="nothing ran"),
        pytest.param(Results(skipped=["x"]), 1, id="all skipped"),
    ],
)
def test_exit_status_and_last_line(
    results: Results, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checks.conclude(results) == status
    assert capsys.readouterr().out.splitlines()[-1] == str(results)


def test_a_program_that_crashes_counts_as_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = checks.run_tests("crash", tmp_path, lambda _: ["sh", "-c", "echo dying; exit 139"])
    assert str(results) == "0 passed, 1 failed, 0 skipped"
    assert "dying" in capsys.readouterr().out


def test_a_run_without_a_test_counts_as_failed(tmp_path: Path) -> None:
    def command(report: Path) -> list[str]:
        return ["sh", "-c", f"echo '<testsuites/>' > {report}"]

    results = checks.run_tests("filtered", tmp_path, command)
    assert results.failed == ["filtered: no test ran"]


def test_every_suite_that_narrow_models_are_tested_with_exists() -> None:
    """A suite that was given another name would no longer be run, and nobody would know."""
    sources = [path.read_text() for path in (ROOT / "tests").rglob("*.cpp")]
    suites = {
        *itertools.chain.from_iterable(re.findall(r"^TEST\w*\((\w+),", s, re.M) for s in sources)
    }
    instances = {
        *itertools.chain.from_iterable(
            re.findall(r"^INSTANTIATE_TEST_SUITE_P\((\w+),", s, re.M) for s in sources
        )
    }
    named = {re.split("[./]", pattern)[0] for pattern in checks.TESTS_OF_MODELS.split(":")}
    assert named <= suites | instances


def test_times_are_told_longest_first(capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(passed=1, seconds={"short": 1, "long": 20.25})
    results.add(Results(passed=1, seconds={"between": 3}))
    checks.conclude(results)
    assert capsys.readouterr().out.splitlines() == [
        "   20.2 s  long",
        "    3.0 s  between",
        "    1.0 s  short",
        "   24.2 s  in all",
        "2 passed, 0 failed, 0 skipped",
    ]


def test_a_program_that_fails_after_its_tests_passed_counts_as_failed(tmp_path: Path) -> None:
    """A sanitiser speaks up when the program ends."""

    def command(report: Path) -> list[str]:
        passed = '<testsuites><testcase classname="a" name="b" /></testsuites>'
        return ["sh", "-c", f"echo '{passed}' > {report}; exit 1"]

    assert str(checks.run_tests("leak", tmp_path, command)) == "1 passed, 1 failed, 0 skipped"


def test_shards_are_counted_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first of three passes its test, the second has none, the third crashes."""

    def command(report: Path) -> list[str]:
        passed = '<testcase classname="a" name="b" />'
        script = (
            f"[ $GTEST_TOTAL_SHARDS = 3 ] && case $GTEST_SHARD_INDEX in"
            f" 0) echo '<testsuites>{passed}</testsuites>' > {report};;"
            f" 1) echo '<testsuites/>' > {report};;"
            " 2) echo dying; exit 139;; esac"
        )
        return ["sh", "-c", script]

    assert str(checks.run_tests("shards", tmp_path, command, shards=3)) == (
        "1 passed, 1 failed, 0 skipped"
    )
    assert "dying" in capsys.readouterr().out
