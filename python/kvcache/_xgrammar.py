"""Where the package xgrammar is, which grammars need."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def directory(chosen: os.PathLike[str] | None) -> str:
    """The directory with the packages xgrammar and tvm_ffi; empty where the library looks itself.

    Nothing of them is run.
    """
    if chosen is not None:
        return os.fspath(chosen)
    spec = importlib.util.find_spec("xgrammar")
    if os.environ.get("KVCACHE_XGRAMMAR_DIR") or spec is None or spec.origin is None:
        return ""
    return str(Path(spec.origin).parents[1])
