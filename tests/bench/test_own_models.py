"""kvcache's models for the comparison: how the exporter's memory and its refusals are told."""

import resource
import subprocess
import sys
from pathlib import Path

import own_models
import pytest
from baseline import MissingModelError
from export import BAD_INPUT, Source
from processes import ProcessError
from steps import StepError

HELD_BYTES = 300 << 20
BESIDE_BYTES = 100 << 20  # an interpreter, and what a process has of the one that started it


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> own_models.Baseline:
    monkeypatch.setattr(own_models, "MODELS", tmp_path)
    return own_models.kvcache("int8", "int8", cache="float16")


def exports(monkeypatch: pytest.MonkeyPatch, export) -> None:
    monkeypatch.setattr(own_models, "is_exported", lambda *_: False)
    monkeypatch.setattr(own_models, "export", export)


def test_the_peak_is_that_of_the_exporter(
    model: own_models.Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(source: Source, output: Path) -> None:
        program = f"held = bytearray(b'1') * {HELD_BYTES}"
        subprocess.run([sys.executable, "-c", program], check=True)
        output.write_text(str(source))

    assert own_models.export_peak_bytes(model) is None
    exports(monkeypatch, export)
    assert model.prepare()
    # A process begins with the pages of the one that forks it, here pytest's with all its tests.
    of_pytest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    most = max(HELD_BYTES, of_pytest) + BESIDE_BYTES
    assert HELD_BYTES <= own_models.export_peak_bytes(model) <= most
    assert model.model.read_text() == "--random-init gpt2 --weights int8 --cache-dtype float16"
    monkeypatch.setattr(own_models, "is_exported", lambda *_: True)
    assert not model.prepare()


def test_a_width_that_the_exporter_refuses_is_left_out_by_its_words(
    model: own_models.Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_) -> None:
        said = "a line before\nerror: no such weights\n"
        raise StepError("it failed", output=said, exit_code=BAD_INPUT)

    exports(monkeypatch, export)
    refused = r"the exporter refuses --weights int8 --cache-dtype float16 \(no such weights\)"
    with pytest.raises(MissingModelError, match=refused):
        model.prepare()
    assert own_models.export_peak_bytes(model) is None


def test_other_failures_end_the_run(
    model: own_models.Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_) -> None:
        raise StepError("the disk is full", exit_code=1)

    exports(monkeypatch, export)
    with pytest.raises(ProcessError, match="Error: the disk is full"):
        model.prepare()

    def crash(*_) -> None:
        raise RuntimeError

    exports(monkeypatch, crash)
    source = "--random-init gpt2 --weights int8 --cache-dtype float16"
    with pytest.raises(ProcessError, match=f"the export of {source} ended without a word"):
        model.prepare()
