"""What a measurement ran on, as JSON can say it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """The processor, memory and GPUs of this machine, and the versions; None where it tells not."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads_of_a_core": _threads_of_a_core(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpus": _gpus(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("ray", "pyarrow")},
    }


def _processor() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return None


def _threads_of_a_core() -> int | None:
    """Above 1, two of the cores may be one that they share, and are less than twice of one."""
    with contextlib.suppress(OSError, ValueError):
        path = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
        spans = [span.split("-") for span in path.read_text(encoding="ascii").strip().split(",")]
        return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)
    return None


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        return found.stdout.splitlines()
    return []


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None
