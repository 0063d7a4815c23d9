"""Small models are exported by a few processes, each of which takes a share of them."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import export
import pytest
from export import Source
from steps import StepError


class Processes:
    """Stands in for those that export; of each share the options that name the model."""

    shares: list[list[str]]

    def __init__(self, *_: object) -> None:
        Processes.shares = []

    def run_shares(self, shares: Sequence[Sequence[Sequence[object]]]) -> list[object]:
        for share in shares:
            for _, _, _, output in share:
                Path(output).mkdir()
                (Path(output) / "config.json").write_text("{}")
        Processes.shares = [[str(options[1]) for options in share] for share in shares]
        return [subprocess.CompletedProcess([], 0, "", "") for _ in shares]

    def close(self) -> None:
        pass


def test_each_is_in_one_share_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ExporterProcesses", Processes)
    waiting = [(Source("--random-init", f"m{i}"), tmp_path / f"{i}") for i in range(5)]
    export.export_together(waiting, 2)
    assert Processes.shares == [["m0", "m2", "m4"], ["m1", "m3"]]
    assert all(export.is_exported(*each) for each in waiting)
    export.export_together([(Source("--random-init", "m6"), tmp_path / "6")], 4)
    assert Processes.shares == [["m6"]]
    export.export_together([], 4)
    assert Processes.shares == []


def test_a_failure_shows_what_was_printed(tmp_path: Path) -> None:
    source = Source("--model", str(tmp_path / "nowhere"))
    with pytest.raises(StepError) as raised:
        export.export_together([(source, tmp_path / "model")], 2)
    assert raised.value.problem == f"one of these exports ended with 2: {source}"
    assert f"Loading {tmp_path / 'nowhere'} model...\n" in raised.value.output
    assert "error: no such directory" in raised.value.output
    assert not export.is_exported(source, tmp_path / "model")
