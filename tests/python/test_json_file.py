"""JSON from outside: read, or refused by the file's name, whatever it holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvcache_export import json_file
from kvcache_export.errors import ExportError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"[" * 200_000, "is not valid JSON: it is nested too deeply"),
        (b'{"a":' * 200_000, "is not valid JSON: it is nested too deeply"),
        (b"[" * 900 + b"]" * 900, "is not a JSON object"),
        (b'{"a": "\xff"}', "is not valid JSON"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (b'{"a": 1, "a": 2}', "it has 'a' twice, with different values"),
        (b'{"b": {"a": 1, "a": true, "a": 2}}', "it has 'a' twice"),
    ],
)
def test_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ExportError) as error:
        json_file.read_object(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert len(str(error.value)) < 400


def test_a_name_twice_with_one_value_is_harmless():
    assert json_file.parse(b'{"a": 1, "a": 1}', "text") == {"a": 1}


def test_what_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr(json_file, "MAX_BYTES", 1 << 20)
    (tmp_path / "large").write_bytes(b" " * ((1 << 20) + 1))
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / ("a" * 300), "File name too long"),
        (tmp_path / "a\0b", "embedded null"),
        (tmp_path / "large", "larger than 1 MiB"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
    ):
        with pytest.raises(ExportError, match=f"cannot read .*{reason}"):
            json_file.read_object(path)


def test_a_pipe_that_the_user_names():
    reader, writer = os.pipe()
    os.write(writer, b"[1, 2]")
    os.close(writer)
    assert json_file.read_json(Path(f"/dev/fd/{reader}"), pipe=True) == [1, 2]
    os.close(reader)


@pytest.mark.parametrize("value", ["x" * 10**6, [[[[[[1]]]]]] * 1000, 10**4000, {"a": {"b": {}}}])
def test_values_are_shown_short(value: object):
    assert len(json_file.shown(value)) < 200
