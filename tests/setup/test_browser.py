"""Where Chromium comes from, and what happens where it cannot be had."""

from __future__ import annotations

import browser
import pytest
from steps import StepError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is installed, instead of installing it."""
    done: list[object] = []
    monkeypatch.setattr(browser.debian, "install", done.append)
    monkeypatch.setattr(
        browser.python_environment, "install", lambda files, name: done.append(name) is None
    )
    return done


def programs(monkeypatch: pytest.MonkeyPatch, there: set[str], *, root: bool) -> None:
    monkeypatch.setattr(browser.shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(browser.debian, "may_install", lambda: root)


def test_what_is_missing_is_installed_where_that_may_be(
    monkeypatch: pytest.MonkeyPatch, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    programs(monkeypatch, {"chromium"}, root=True)
    browser.provide()
    assert asked == [["chromium-driver"], "browser-requirements"]
    assert "installed chromium-driver" in capsys.readouterr().out


def test_nothing_is_installed_where_it_may_not_be(
    monkeypatch: pytest.MonkeyPatch, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    programs(monkeypatch, set(), root=False)
    browser.provide()
    assert asked == []
    said = capsys.readouterr().out
    assert "its tests are skipped; apt-get install chromium chromium-driver" in said


def test_a_failure_is_said_and_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(packages: list[str]) -> None:
        raise StepError("apt-get ended with 100", packages=packages)

    programs(monkeypatch, set(), root=True)
    monkeypatch.setattr(browser.debian, "install", fail)
    browser.provide()
    assert "apt-get install chromium chromium-driver" in capsys.readouterr().out
