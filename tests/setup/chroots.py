"""Minimal systems of Debian's releases, in which tests do what strangers do.

Each is made once for all tests that run together; who changes one takes a copy. Commands run in a
namespace of mounts and processes of their own, so what they start ends with them.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

APART = ["unshare", "--mount", "--pid", "--fork"]
MIRROR = "http://deb.debian.org/debian"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # of this machine's way to the net
HOME = Path("/home/stranger")
CACHE = Path("/ccache")


class Chroot:
    """A system below a directory; a call runs a command in it, as root or as `stranger`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self, *command: str | Path, user: bool = False, directory: Path | str = "/"
    ) -> str:
        """What a command that succeeds prints."""
        done = self.run(*command, user=user, directory=directory)
        assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(
        self, *command: str | Path, user: bool = False, directory: Path | str = "/"
    ) -> subprocess.CompletedProcess[str]:
        become = ["--userspec=1000:1000", "--groups="] if user else []
        enter = ["chroot", *become, self.root, "env", "-C", directory, *command]
        # The dynamic linker finds $ORIGIN by /proc, and programs that draw are tried at terminals.
        mounts = [
            ["mount", "-t", "proc", "proc", self.root / "proc"],
            [
                "mount",
                "-t",
                "devpts",
                "-o",
                "newinstance,ptmxmode=0666",
                "pts",
                self.root / "dev/pts",
            ],
        ]
        if self._has_cache():
            cache = Path(os.environ["CCACHE_DIR"], "strangers")  # whose files are the user's
            cache.mkdir(parents=True, exist_ok=True)
            os.chown(cache, 1000, 1000)
            (self.root / CACHE.name).mkdir(exist_ok=True)
            mounts.append(["mount", "--bind", cache, self.root / CACHE.name])
        steps = [*(shlex.join(map(str, words)) for words in mounts)]
        script = " && ".join([*steps, f"exec {shlex.join(map(str, enter))}"])
        return subprocess.run(
            [*APART, "sh", "-c", script],
            env=self._environment(HOME if user else Path("/root")),
            capture_output=True,
            text=True,
            check=False,
        )

    def _has_cache(self) -> bool:
        """Whether compilers in it may take what they made before, for tests that run again."""
        return "CCACHE_DIR" in os.environ and (self.root / "usr" / "bin" / "ccache").exists()

    def _environment(self, home: Path) -> dict[str, str]:
        ours = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home),
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
        }
        if self._has_cache():
            of_cache = {name: os.environ[name] for name in os.environ if name.startswith("CCACHE_")}
            launchers = ("CMAKE_CXX_COMPILER_LAUNCHER", "CMAKE_C_COMPILER_LAUNCHER")
            ours |= of_cache | {"CCACHE_DIR": str(CACHE)} | dict.fromkeys(launchers, "ccache")
        taken = {"http_proxy", "https_proxy", "SSL_CERT_FILE", "KVCACHE_JOBS"}
        for name, value in os.environ.items():
            if name in taken or name.startswith("PIP_"):
                ours[name] = value
        return ours


def skip_where_impossible() -> None:
    """Skip the test, with the reason, where this machine cannot make a chroot."""
    if os.geteuid() != 0:
        pytest.skip("only root may change the root directory")
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is not installed (Debian's package of that name)")
    if (
        subprocess.run(
            [*APART, "mount", "-t", "proc", "proc", "/proc"], capture_output=True, check=False
        ).returncode
        != 0
    ):
        pytest.skip("this machine lets nobody make a namespace of mounts and processes")


def say(text: str) -> None:
    """Show what takes long, on a terminal alone and whatever pytest captures."""
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        print(f"[chroot] {text}", file=sys.__stderr__, flush=True)


def make(
    suite: str, factory: pytest.TempPathFactory, site: str = MIRROR, packages: Sequence[str] = ()
) -> Chroot:
    """A copy of its own of a release's minimal system, with more packages; remove() removes it."""
    skip_where_impossible()
    root = factory.mktemp(suite)
    say(f"copying {suite}")
    subprocess.run(["cp", "-a", f"{_base(suite, factory, site)}/.", root], check=True)
    system = Chroot(root)
    if packages:
        say(f"{suite}: installing {' '.join(packages)}")
        system("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    if CERTIFICATES.exists():  # also where ca-certificates is not installed, as pip needs none
        inside = root / CERTIFICATES.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CERTIFICATES, inside)
    return system


def remove(system: Chroot) -> None:
    """Give the disk back: a system with a build in it is some gigabytes."""
    shutil.rmtree(system.root)


def _base(suite: str, factory: pytest.TempPathFactory, site: str) -> Path:
    """The system that debootstrap makes, by the first process of this run that wants it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    base = folder / f"debootstrap-{suite}"
    with (folder / f"debootstrap-{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not base.exists():
            say(f"debootstrap {suite}")
            beside = base.with_suffix(".unfinished")
            words = ["debootstrap", "--variant=minbase", suite, beside, site]
            made = subprocess.run(words, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stdout[-2000:] + made.stderr
            Chroot(beside)("apt-get", "update")
            beside.rename(base)
    return base
