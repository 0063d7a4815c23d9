"""scripts/site: the pages of docs/ and the reference as HTML."""

import argparse
import os
import shlex
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import python_environment
import setup
import toolchain
from paths import BUILD, PYTHON, ROOT
from steps import StepError, check_all, main, run, say, step

SITE = ROOT / "docs" / "site"
OUTPUT = ROOT / "build-site"
PROGRAM = BUILD / "kvcache"
REQUIREMENTS = [ROOT / "requirements-site.txt"]
STAMP = "site-requirements"  # of their installation in .venv
MADE_HERE = ("objects.inv", "index.html")  # what Sphinx leaves in every site


def provide() -> bool:
    """Install what the pages are built with; False when that was done before."""
    # What the exporter needs to say what its options are.
    for_exporter = python_environment.install(setup.REQUIREMENTS, "requirements")
    return python_environment.install(REQUIREMENTS, STAMP) or for_exporter


def build_site(output: Path, program: Path, repository_url: str = "") -> None:
    """Build all pages, check their links and put them in place of `output`.

    Args:
        output: is whole, or as it was before.
        program: the built kvcache, whose help is part of the reference.
        repository_url: where the repository's files can be seen; "": their paths are shown alone.

    Raises:
        StepError: something is missing, or a page has an error.
    """
    check_all(
        toolchain.compiler,
        python_environment.check,
        lambda: _check_program(program),
        lambda: _check_output(output),
    )
    with step("site", "Sphinx in .venv") as outcome:
        if not provide():
            outcome.text = "in place"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Beside the output, so that it is moved, not copied.
        with tempfile.TemporaryDirectory(prefix=f"{output.name}-", dir=output.parent) as folder:
            html = _build(Path(folder), program, repository_url)
            _replace(output, html, Path(folder) / "before")
    except OSError as error:
        raise StepError(
            f"the site cannot be written to {output}: {error.strerror}",
            advice="Name a folder that can be made with --output.",
        ) from error


def _build(folder: Path, program: Path, repository_url: str) -> Path:
    """Build the site within an empty folder, and check it."""
    stage, html = folder / "pages", folder / "html"
    stage.mkdir()
    _python("reference", SITE / "stage.py", stage, *_sources(program))
    # Every warning is an error, and all of them are told.
    strict = ("-W", "--keep-going", "--nitpicky", "-q", "-E", "-d", folder / "doctrees")
    sphinx = ("-m", "sphinx", *strict, "-b", "html", "-c", SITE, stage, html)
    _python("pages", *sphinx, KVCACHE_SITE_REPOSITORY=repository_url)
    _python("links", SITE / "link_check.py", html)
    return html


def _replace(output: Path, html: Path, before: Path) -> None:
    """Put the new site in the place of the one before, which goes away."""
    if output.exists():
        output.rename(before)
    try:
        html.rename(output)
    except OSError:
        if before.exists():
            before.rename(output)
        raise


def _sources(program: Path) -> Sequence[str | Path]:
    return ("--program", program, "--compiler", shlex.join(toolchain.compiler()))


def _python(what: str, *words: str | Path, **environment: str) -> None:
    with step("site", what) as outcome:
        said = run([PYTHON, "-X", "utf8", *words], environment=environment)
        outcome.text = said.strip() or "done"


def _check_program(program: Path) -> None:
    if not program.is_file() or not os.access(program, os.X_OK):
        raise StepError(
            f"the reference shows what the program says of itself, and {program} is no program",
            advice="Build it first (scripts/benchmark or scripts/test does), or name it with"
            " --program.",
        )


def _check_output(output: Path) -> None:
    """Refuse to put a site in place of anything but a site."""
    if not output.exists():
        return
    is_site = all((output / name).is_file() for name in MADE_HERE)
    if not is_site and (not output.is_dir() or any(output.iterdir())):
        raise StepError(
            f"the site was to replace {output}, which is there and is no site",
            advice="Name another folder with --output, or remove that one.",
        )


def _end(number: int, _frame: FrameType | None) -> None:
    """Let go of what is half built, which a signal's own way to end a process leaves behind."""
    raise SystemExit(128 + number)


def _command() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/site",
        description="Builds the pages of docs/ and the reference of C++, C, Python and the program"
        " as HTML. Whatever is wrong with a page, a link to nowhere included, is an error, and the"
        " output stays as it was. Installs Sphinx into .venv the first time.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="DIR",
        help="the folder to write, in place of a site that is there (build-site)",
    )
    parser.add_argument(
        "--program",
        type=Path,
        default=PROGRAM,
        metavar="FILE",
        help="the built program kvcache (build/kvcache)",
    )
    parser.add_argument(
        "--repository-url",
        default="",
        metavar="URL",
        help="what a file's path is put behind to see it, such as"
        " https://example.org/kvcache/blob/main/; without it, paths of files are no links",
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    output = arguments.output.absolute()
    url = arguments.repository_url
    build_site(output, arguments.program.absolute(), f"{url.rstrip('/')}/" if url else "")
    say(f"[site] {output / 'index.html'}")
    return 0


if __name__ == "__main__":
    main(_command)
