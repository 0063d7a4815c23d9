"""The output directory: nothing is left of a failure, one export at a time, nobody else's files."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvcache_export import output_directory
from kvcache_export.errors import ExportError

ROOT = Path(__file__).parents[2]
MODEL_FILE = "gpt2_with_cache.onnx"
staging = functools.partial(output_directory.staging, model_file=MODEL_FILE)
OURS = '{"format": "kvcache", "model_file": "gpt2_with_cache.onnx", "files": []}'
TOKEN = ".export-0123456789abcdef"
ANOTHER_EXPORT = """\
import sys
from pathlib import Path

from kvcache_export.errors import ExportError
from kvcache_export.output_directory import staging

try:
    with staging(Path(sys.argv[1]), "gpt2_with_cache.onnx"):
        print("it was let in")
except ExportError as error:
    print(error)
"""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def refuse(output: Path, message: str) -> None:
    with pytest.raises(ExportError, match=message), staging(output):
        pytest.fail("it was let in")


def test_nothing_is_left_of_a_failure(tmp_path: Path):
    output = tmp_path / "new" / "deep"
    with pytest.raises(ZeroDivisionError), staging(output) as staged:
        (staged.directory / "half").write_text("written")
        staged.beside(".onnx.data").write_text("written")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_what_was_there_stays(tmp_path: Path):
    (tmp_path / "model").write_text("old")
    with pytest.raises(KeyboardInterrupt), staging(tmp_path) as staged:
        (staged.directory / "model").write_text("new")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model").read_text() == "old"


@pytest.mark.parametrize("foreign", ['{"model_type": "gpt2"}', "[]", "# not JSON", "[" * 10**5])
def test_the_config_of_something_else_stays(tmp_path: Path, foreign: str):
    (tmp_path / "config.json").write_text(foreign)
    refuse(tmp_path, r"config\.json belongs to something else")
    assert names(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    "name", ["config.json", "gpt2_with_cache.onnx", "gpt2_with_cache.onnx.data"]
)
@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "link to nothing", "link to itself"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, name: str, kind: str):
    (tmp_path / "target").write_text(OURS)
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to({"link": "target", "link to nothing": "x", "link to itself": name}[kind])
    before = names(tmp_path)
    refuse(tmp_path, f"{name} is not a regular file .*move it away, or choose another --output-dir")
    assert names(tmp_path) == before


def test_a_link_to_a_directory_is_written_through(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with staging(tmp_path / "link") as staged:
        (staged.directory / "file").write_text("")
        assert (tmp_path / "real" / staged.directory.name / "file").exists()
    assert names(tmp_path) == ["link", "real"]


def test_output_that_can_be_no_directory(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "nothing").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    for output in (
        tmp_path / "file",
        tmp_path / "file" / "below",
        tmp_path / "nothing",
        tmp_path / "loop" / "below",
        tmp_path / "new" / ("a" * 300),
        Path("/dev/null"),
        Path("/proc/self/fd"),
    ):
        refuse(output, f"cannot write to {output}: ")
    assert names(tmp_path) == before


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path):
    refuse(tmp_path / os.fsdecode(b"m\xff"), "its name is not UTF-8.*choose another --output-dir")
    assert names(tmp_path) == []


def test_a_system_error_becomes_one_line(tmp_path: Path):
    with (
        pytest.raises(ExportError, match=f"cannot write to {tmp_path}: No space left"),
        staging(tmp_path),
    ):
        raise OSError(28, "No space left on device")


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path):
    with (
        pytest.raises(
            ExportError, match=r"the weights take 1000000000000\.0 MB, and .* MB are free"
        ),
        staging(tmp_path) as staged,
    ):
        staged.check_room(10**18)
    assert names(tmp_path) == []


class TestLeftovers:
    def test_of_a_killed_export_go(self, tmp_path: Path):
        (tmp_path / TOKEN).mkdir()
        (tmp_path / TOKEN / "half").write_text("")
        (tmp_path / f"{TOKEN}.onnx").write_text("")
        (tmp_path / f"{TOKEN}.onnx.data").write_text("")
        with staging(tmp_path) as staged:
            assert names(tmp_path) == [staged.directory.name]

    @pytest.mark.parametrize(
        "name",
        [".export-settings", f"{TOKEN}.txt", TOKEN[1:], f"{TOKEN}0", ".export-", f"x{TOKEN}"],
    )
    def test_other_names_stay(self, tmp_path: Path, name: str):
        (tmp_path / name).mkdir()
        with staging(tmp_path):
            pass
        assert names(tmp_path) == [name]

    def test_that_are_the_model_stay(self, tmp_path: Path):
        (tmp_path / f"{TOKEN}.onnx").write_text("graph")
        (tmp_path / f"{TOKEN}.onnx.data").write_text("weights")
        (tmp_path / "config.json").write_text(
            f'{{"format": "kvcache", "model_file": "{TOKEN}.onnx",'
            f' "files": [{{"name": "{TOKEN}.onnx"}}, {{"name": "{TOKEN}.onnx.data"}}]}}'
        )
        before = names(tmp_path)
        with pytest.raises(ZeroDivisionError), staging(tmp_path):
            raise ZeroDivisionError
        assert names(tmp_path) == before

    def test_a_link_is_removed_and_not_followed(self, tmp_path: Path):
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "file").write_text("")
        output = tmp_path / "output"
        output.mkdir()
        (output / TOKEN).symlink_to(tmp_path / "kept")
        with staging(output):
            pass
        assert (tmp_path / "kept" / "file").exists()


class TestLock:
    def test_another_export_is_refused_and_leaves_the_first_alone(self, tmp_path: Path):
        output = tmp_path / "new"
        with staging(output) as staged:
            (staged.directory / "half").write_text("")
            other = subprocess.run(
                [sys.executable, "-c", ANOTHER_EXPORT, output],
                cwd=ROOT / "python",
                capture_output=True,
                text=True,
                check=True,
            )
            assert re.fullmatch("another export is writing to .*; wait until .*\n", other.stdout)
            assert (staged.directory / "half").exists()

    def test_a_directory_that_goes_before_it_is_locked_is_made_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        output, lock, count = tmp_path / "new", output_directory._lock, iter(range(9))

        def lock_late(descriptor: int, path: Path) -> bool:
            if next(count) < 2:
                output.rmdir()
            return lock(descriptor, path)

        monkeypatch.setattr(output_directory, "_lock", lock_late)
        with staging(output) as staged:
            assert staged.directory.exists()
        assert next(count) == 3

    def test_a_file_system_without_locks_removes_only_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def no_locks(*_: object) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr(output_directory.fcntl, "flock", no_locks)
        (tmp_path / TOKEN).mkdir()
        with staging(tmp_path):
            pass
        assert names(tmp_path) == [TOKEN]
