"""Chromium, in which tests look at pages: installed where that may be, else they are skipped."""

import shutil

import debian
import python_environment
from paths import ROOT
from steps import StepError, say, step

PACKAGES = {"chromium": "chromium", "chromium-driver": "chromedriver"}  # and their programs
REQUIREMENTS = [ROOT / "requirements-browser.txt"]


def provide() -> None:
    """Install Chromium and its driver, as root, and what drives them in .venv.

    Where that cannot be done it is said, and the tests that need it count as skipped.
    """
    try:
        with step("test", "Chromium for the tests of pages") as outcome:
            outcome.text = _provide()
    except StepError as error:
        say(error)


def _provide() -> str:
    missing = missing_packages()
    if missing and not debian.may_install():
        return f"not here, its tests are skipped; apt-get install {' '.join(missing)}"
    if missing:
        debian.install(missing)
    installed = python_environment.install(REQUIREMENTS, "browser-requirements")
    if missing:
        return f"installed {' '.join(missing)}"
    return "installed selenium in .venv" if installed else "in place"


def missing_packages() -> list[str]:
    """Debian's packages whose program is not there."""
    return [package for package, program in PACKAGES.items() if shutil.which(program) is None]
