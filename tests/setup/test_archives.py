"""Archives, unpacked by Pythons with and without filters."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import archives
import pytest


def archive_of(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:xz") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            made.addfile(member, io.BytesIO(name.encode()))
    return path


def test_files_are_there(tmp_path: Path) -> None:
    archives.unpack(archive_of(tmp_path / "a.tar.xz", "one", "folder/two"), tmp_path / "to")
    assert (tmp_path / "to" / "one").read_text() == "one"
    assert (tmp_path / "to" / "folder" / "two").read_text() == "folder/two"


def test_a_python_without_filters_unpacks_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    archives.unpack(archive_of(tmp_path / "a.tar.xz", "one"), tmp_path / "to")
    assert (tmp_path / "to" / "one").read_text() == "one"


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="this Python has no filters")
def test_what_lies_outside_is_refused(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar.xz", "../outside")
    with pytest.raises(tarfile.OutsideDestinationError):
        archives.unpack(archive, tmp_path / "to")
    assert not (tmp_path / "outside").exists()
