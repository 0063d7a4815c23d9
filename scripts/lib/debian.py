"""Packages of Debian and its derivatives: installed where root, else fetched and unpacked."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from steps import StepError, run

NO_SOURCE = (
    "apt finds no package where its sources (/etc/apt/sources.list, /etc/apt/sources.list.d) name"
    " no archive, or one out of reach; on Ubuntu they must name the component universe."
)


def has_apt() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("dpkg") is not None


def may_install() -> bool:
    """Whether packages may be installed; KVCACHE_SETUP_NO_ROOT=1 forbids it even where root."""
    forbidden = os.environ.get("KVCACHE_SETUP_NO_ROOT", "0") != "0"
    return has_apt() and os.geteuid() == 0 and not forbidden


def install(packages: Sequence[str]) -> None:
    """Install packages, as root.

    Raises:
        StepError: apt-get failed; the advice names the packages and apt's sources.
    """
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    updated = ""
    options = ("--yes", "--no-install-recommends")
    try:
        updated = run(["apt-get", "update"], environment=quiet)
        run(["apt-get", "install", *options, *packages], environment=quiet)
    except StepError as error:
        error.advice, error.packages = NO_SOURCE, packages
        error.output = f"{updated}\n{error.output}"
        raise


class PrivateApt:
    """apt with lists and cache of its own: needs no root and leaves the machine's state alone."""

    def __init__(self, directory: Path) -> None:
        """Use `directory` for lists and cache."""
        self._archives = directory / "cache" / "archives"
        for folder in (directory / "lists" / "partial", self._archives / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        options = {
            "Dir::State::Lists": directory / "lists",
            "Dir::Cache": directory / "cache",
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "root",
        }
        self._options = [f"-o{key}={value}" for key, value in options.items()]

    def download_with_dependencies(self, packages: Sequence[str]) -> None:
        """Download packages and what they depend on, less what is installed.

        Raises:
            StepError: apt-get failed; the advice names the packages and apt's sources.
        """
        options = ("--yes", "--no-install-recommends", "--download-only")
        self._apt_get(packages, "install", *options, *packages)

    def download(self, package: str) -> None:
        """Download one package, without what it depends on."""
        self._apt_get([package], "download", package)

    def _apt_get(self, packages: Sequence[str], *words: str) -> None:
        updated = ""
        try:
            updated = run(["apt-get", *self._options, "update"])
            run(["apt-get", *self._options, *words], cwd=self._archives)
        except StepError as error:
            # An update that reached nothing ends as one that did: what it said belongs to it.
            error.advice, error.packages = NO_SOURCE, packages
            error.output = f"{updated}\n{error.output}"
            raise

    def unpack(self, target: Path) -> None:
        """Unpack all that was downloaded below `target`."""
        for archive in sorted(self._archives.glob("*.deb")):
            run(["dpkg", "-x", archive, target])


def complete_links(target: Path, installed_root: Path = Path("/")) -> None:
    """Give unpacked links to libraries that were not fetched, being installed, the installed ones.

    A development package holds `libx.so -> libx.so.1`; the library itself is in another package.
    """
    for link in target.rglob("*.so"):
        if link.is_symlink() and not link.exists():
            installed = installed_root / link.parent.relative_to(target)
            for library in installed.glob(f"{link.name}.*"):
                (link.parent / library.name).symlink_to(library)
