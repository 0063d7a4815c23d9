"""Counting what passed, failed and was skipped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from steps import Outcome, StepError, say, step


@dataclass
class Results:
    """How many checks and tests passed, and which failed or were skipped."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # with the reason
    seconds: dict[str, float] = field(default_factory=dict)  # that each check took

    def add(self, other: "Results") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.seconds.update(other.seconds)

    @property
    def ran(self) -> int:
        return self.passed + len(self.failed)

    def __str__(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def check(
    name: str,
    work: Callable[[], str | None],
    *,
    shown: str | None = None,
    beside_others: bool = False,
) -> Results:
    """Do one piece of work as one check; what it returns is said of it.

    Args:
        shown: what the step is called while it runs, if not by the name that results have.
        beside_others: other threads check something meanwhile.
    """
    results = Results(passed=1)
    outcome = Outcome()
    try:
        with step("test", shown or name, beside_others=beside_others) as outcome:
            outcome.text = work() or "ok"
    except StepError as error:
        say(error)
        results = Results(failed=[name])
    results.seconds[name] = outcome.seconds
    return results


def read_junit(report: Path, suite: str) -> Results:
    """Count the test cases of a JUnit report, as GoogleTest and pytest write them."""
    results = Results()
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{suite}: {case.get('classname')}.{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            results.failed.append(name)
        elif skipped is not None:
            results.skipped.append(f"{name} ({_reason(skipped)})")
        elif case.get("status") == "notrun":  # GoogleTest's DISABLED_
            results.skipped.append(f"{name} (disabled)")
        else:
            results.passed += 1
    return results


def _reason(skipped: ElementTree.Element) -> str:
    """The last line of the message: GoogleTest puts file and line before it."""
    lines = (skipped.get("message") or "no reason given").strip().splitlines()
    return lines[-1].strip()
