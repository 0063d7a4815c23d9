"""Packages of Debian and its derivatives: installed where root, else fetched and unpacked."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from steps import StepError, run

KEYRINGS = [
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
]


def has_apt() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("dpkg") is not None


def may_install() -> bool:
    """Whether packages may be installed; KVCACHE_SETUP_NO_ROOT=1 forbids it even where root."""
    return os.geteuid() == 0 and os.environ.get("KVCACHE_SETUP_NO_ROOT", "0") == "0"


def install(packages: Sequence[str]) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    advice = f"Install them by hand: apt-get install {' '.join(packages)}"
    run(["apt-get", "update"], advice=advice, environment=quiet)
    run(
        ["apt-get", "install", "--yes", "--no-install-recommends", *packages],
        advice=advice,
        environment=quiet,
    )


def source_line(suite: str) -> str:
    """A line for sources.list: a suite of Debian from the mirror this machine is set up with."""
    release = _os_release()
    if release.get("ID") != "debian":
        raise StepError(f"this machine has no mirror of Debian's {suite} in its apt sources")
    form = "$(RELEASE) $(REPO_URI)"
    # Without the release files' information it also answers where `apt-get update` never ran.
    targets = run(["apt-get", "indextargets", "--no-release-info", "--format", form])
    mirrors = [
        mirror
        for name, mirror in (line.split(maxsplit=1) for line in targets.splitlines())
        if name in (release.get("VERSION_CODENAME"), "stable", "testing", "unstable", "sid")
    ]
    if not mirrors:
        raise StepError("no mirror of Debian in this machine's apt sources")
    keyring = next((str(path) for path in KEYRINGS if path.exists()), None)
    options = f"[signed-by={keyring}] " if keyring else ""
    return f"deb {options}{mirrors[0]} {suite} main\n"


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    pairs = (line.split("=", maxsplit=1) for line in lines if "=" in line)
    return {key: value.strip('"') for key, value in pairs}


class PrivateApt:
    """apt with lists and cache of its own: needs no root and leaves the machine's state alone."""

    def __init__(self, directory: Path, sources: str | None = None) -> None:
        """Use `directory` for lists and cache; `sources` instead of the machine's sources.list."""
        self._archives = directory / "cache" / "archives"
        for folder in (directory / "lists" / "partial", self._archives / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        options = {
            "Dir::State::Lists": directory / "lists",
            "Dir::Cache": directory / "cache",
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "root",
        }
        if sources is not None:
            source_list = directory / "sources.list"
            source_list.write_text(sources)
            options |= {"Dir::Etc::SourceList": source_list, "Dir::Etc::SourceParts": "/dev/null"}
        self._options = [f"-o{key}={value}" for key, value in options.items()]

    def _apt_get(self, *words: str) -> None:
        run(["apt-get", *self._options, *words], cwd=self._archives)

    def update(self) -> None:
        self._apt_get("update")

    def download(self, package: str) -> None:
        """Download one package, without what it depends on."""
        self._apt_get("download", package)

    def download_missing(self, packages: Sequence[str]) -> None:
        """Download packages and what they depend on, less what is installed."""
        self._apt_get("install", "--yes", "--no-install-recommends", "--download-only", *packages)

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
