"""The directory that an export writes to: one export at a time, and nothing left of a failed one.

Files are made in a directory inside it, `.export-` and 16 hex digits, and put in place together
(publish.py). A lock on the directory itself, which ends with the process however that ends, keeps
other exports out; so what an export finds of such names there belongs to one that was killed.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import chat, json_file, tokenizer_files
from .errors import ExportError
from .save import CONFIG_FILE, DATA_SUFFIX, FORMAT

# What an export makes beside its directory of that name has a suffix.
TEXT_NAMES = (*tokenizer_files.NAMES, *chat.NAMES)
_TEXT = "|".join(map(re.escape, TEXT_NAMES))
TEMPORARY = re.compile(rf"\.export-[0-9a-f]{{16}}(\.onnx(\.data)?|\.({_TEXT}))?")

NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Staging:
    """Where an export makes its files: `directory`, of a name that no other export has."""

    output: Path
    directory: Path

    def beside(self, suffix: str) -> Path:
        """A temporary file in the output directory itself."""
        return self.output / (self.directory.name + suffix)

    def check_room(self, needed: int, what: str = "the weights take") -> None:
        """Raises ExportError where the file system has not even `needed` bytes free."""
        room = shutil.disk_usage(self.output)
        if room.total and needed > room.free:
            raise ExportError(
                f"cannot write to {self.output}: {what} {needed / 1e6:.1f} MB, and"
                f" {room.free / 1e6:.1f} MB are free; make room, or choose another --output-dir"
            )


@contextlib.contextmanager
def staging(output: Path, model_file: str) -> Iterator[Staging]:
    """The output directory, made and locked as long as the block lasts.

    In the end all that is temporary goes, as does an `output` left empty. An OSError in between,
    such as a full disk, becomes an ExportError.
    """
    _check_name(output)
    _check_files(output, model_file)
    try:
        with _locked(output) as alone:
            _check_files(output, model_file)  # another export may have ended meanwhile
            staged = Staging(output, output / f".export-{secrets.token_hex(8)}")
            try:
                if alone:
                    _remove_temporary(output)
                staged.directory.mkdir()
                yield staged
            finally:
                with contextlib.suppress(OSError):  # the directory itself may have gone
                    # All again: those of a killed export may have been the model until now.
                    _remove_temporary(output, only=None if alone else staged)
    except OSError as error:
        # numpy reports a write that the system cut short without saying why.
        reason = error.strerror or f"{error}; is the disk full?"
        raise ExportError(f"cannot write to {output}: {reason}") from error


def _check_name(output: Path) -> None:
    """Refuses a name that ONNX, which takes names as UTF-8, would look for elsewhere."""
    name = os.fsencode(output)
    try:
        same = str(output).encode() == name
    except UnicodeEncodeError:
        same = False
    if not same:
        raise ExportError(
            f"cannot write to {name!r}: its name is not UTF-8, or the locale's encoding is not;"
            " choose another --output-dir, or set PYTHONUTF8=1"
        )


def _check_files(output: Path, model_file: str) -> None:
    """Refuses to overwrite what is not an export's: a checkpoint's config.json, a device, a link.

    Files are replaced by renaming, which would put them in the place of a link or device.
    """
    for name in (CONFIG_FILE, model_file, model_file + DATA_SUFFIX, *TEXT_NAMES):
        try:
            mode = (output / name).lstat().st_mode
        except OSError:  # none there, or no directory at all: the caller will notice
            continue
        if not stat.S_ISREG(mode):
            raise ExportError(
                f"{output / name} is not a regular file (but a link, directory or device); move it"
                " away, or choose another --output-dir"
            )
    if os.path.lexists(output / CONFIG_FILE) and not _is_ours(output / CONFIG_FILE):
        raise ExportError(
            f"{output / CONFIG_FILE} belongs to something else; choose another --output-dir"
        )


def _is_ours(config: Path) -> bool:
    try:
        return json_file.read_object(config).get("format") == FORMAT
    except ExportError:
        return False


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[bool]:
    """Makes the directory and locks it; whether the file system has locks.

    Whoever holds the lock removes what it has made, where that stays empty. So another export may
    find that the directory has gone between its making and its locking; it makes it again then.
    """
    made = [path for path in (output, *output.parents) if not os.path.lexists(path)]
    while True:
        descriptor = _make_and_open(output, made)
        try:
            alone = _lock(descriptor, output)
            if _is_directory_of(descriptor, output):
                try:
                    yield alone
                    return
                finally:
                    _remove_empty(made)
        finally:
            os.close(descriptor)


def _make_and_open(output: Path, made: list[Path]) -> int:
    while True:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError:
            _remove_empty(made)
            raise
        with contextlib.suppress(FileNotFoundError):
            return os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _lock(descriptor: int, output: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ExportError(
            f"another export is writing to {output}; wait until it has ended, or choose another"
            " --output-dir"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _is_directory_of(descriptor: int, output: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), output.stat())
    except FileNotFoundError:
        return False


def _remove_temporary(output: Path, only: Staging | None = None) -> None:
    """Removes what exports left (or `only` one did), but no file that config.json names.

    It does name such files where an export ended in the middle of publishing; then they are the
    model.
    """
    kept = named_files(output / CONFIG_FILE)
    for name in os.listdir(output):  # noqa: PTH208 (names only)
        if name in kept or not TEMPORARY.fullmatch(name):
            continue
        if only is None or name.startswith(only.directory.name):
            path = output / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def named_files(config: Path) -> set[str]:
    """The files of the model that a config.json describes, if it does."""
    try:
        fields = json_file.read_object(config)
        return {file["name"] for file in fields["files"]} | {fields["model_file"]}
    except (ExportError, TypeError, KeyError):
        return set()


def _remove_empty(directories: list[Path]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()
