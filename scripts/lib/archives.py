"""Archives, unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive, and refuse what lies outside the directory where this Python can.

    It can from 3.11.4 on, and where a distribution brought it to an older one; Debian 12 came with
    3.11.2, where extractall() has no parameter for it.
    """
    with tarfile.open(archive) as opened:
        opened.extraction_filter = getattr(tarfile, "data_filter", None)
        opened.extractall(directory)
