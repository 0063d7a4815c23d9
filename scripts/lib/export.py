"""Exporting models, and remembering what was exported so that nothing is exported twice."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter_processes import ExporterProcesses
from paths import PYTHON, ROOT
from steps import StepError, run

EXPORTER = ROOT / "export_kvcache.py"
EXPORTER_PACKAGE = ROOT / "python" / "kvcache_export"
STAMP = ".exported.json"

BAD_INPUT = 2  # the exporter's exit code when the model cannot be had, or is none that it knows


@dataclass(frozen=True)
class Source:
    """What to export: the exporter's option (--model or --random-init), its value, and others."""

    option: str
    value: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.option, self.value, *self.others])

    def fingerprint(self) -> str:
        """The source in words, with the state of its files where it is a file or directory."""
        path = Path(self.value)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        states = [
            f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}"
            for file in files
            if file.is_file()
        ]
        return " ".join([str(self), *states])


def export(source: Source, output: Path, *, asked_for: str = "") -> None:
    """Export a model; `asked_for` is what the user asked for, where that is not the source."""
    run([PYTHON, EXPORTER, *_options(source, output)], cwd=ROOT)
    _remember(source, output, asked_for)


def export_together(exports: Sequence[tuple[Source, Path]], at_once: int) -> None:
    """Export small models, in so many processes that share them."""
    shares = [share for share in (exports[first::at_once] for first in range(at_once)) if share]
    with tempfile.TemporaryDirectory() as streams:
        processes = ExporterProcesses(Path(streams), PYTHON, "ANY")
        try:
            ends = processes.run_shares([[_options(*one) for one in share] for share in shares])
        finally:
            processes.close()
    for share, end in zip(shares, ends, strict=True):
        if end.returncode != 0:
            raise StepError(
                f"one of these exports ended with {end.returncode}: "
                + "; ".join(str(source) for source, _ in share),
                output=end.stdout + end.stderr,  # the last that is loaded is the one
            )
        for one in share:
            _remember(*one)


def _options(source: Source, output: Path) -> list[str | Path]:
    return [source.option, source.value, *source.others, "--output-dir", output]


def _remember(source: Source, output: Path, asked_for: str = "") -> None:
    stamp = {"asked_for": asked_for, "source": source.fingerprint(), **_state(output)}
    written = output / f"{STAMP}.{os.getpid()}"
    written.write_text(json.dumps(stamp, indent=2))
    written.replace(output / STAMP)


def exported_source(output: Path, *, asked_for: str) -> str | None:
    """What an up-to-date export holds, if it was made because `asked_for` was asked for."""
    stamp = _current_stamp(output)
    return stamp["source"] if stamp and stamp["asked_for"] == asked_for else None


def is_exported(source: Source, output: Path) -> bool:
    """Whether an up-to-date export of this very source is there."""
    stamp = _current_stamp(output)
    return stamp is not None and stamp["source"] == source.fingerprint()


def made_by_hand(output: Path) -> bool:
    """Whether a model is there that export() did not make."""
    stamp = _stamp(output)
    if stamp is None:
        return (output / "config.json").exists()
    return stamp["config"] != _state(output)["config"]


def _current_stamp(output: Path) -> dict[str, str] | None:
    """The stamp, if the model beside it and the exporter are those it was written for."""
    stamp = _stamp(output)
    return stamp if stamp and _state(output).items() <= stamp.items() else None


def _stamp(output: Path) -> dict[str, str] | None:
    """The stamp, or None where there is none that can be read: the model is exported again then."""
    try:
        stamp = json.loads((output / STAMP).read_text())
        return {name: stamp[name] for name in ("asked_for", "source", "exporter", "config")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _state(output: Path) -> dict[str, str]:
    exporter = [EXPORTER, *sorted(EXPORTER_PACKAGE.rglob("*.py"))]
    return {"exporter": _digest(exporter), "config": _digest([output / "config.json"])}


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()
