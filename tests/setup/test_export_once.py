"""scripts/benchmark exports once, and again when something it depends on changed."""

from collections.abc import Sequence
from pathlib import Path

import benchmark
import export
import pytest
from export import Source
from steps import StepError

HUB_OUT_OF_REACH = "error: cannot reach the hub for 'gpt2'; give a checkpoint directory"


class Exporter:
    """Stands in for export_gpt2_kvcache.py: writes config.json and counts."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.has_hub = True

    def run(self, command: Sequence[str | Path], *, cwd: Path) -> str:
        _, _, option, value, _, output = map(str, command)
        self.sources.append(f"{option} {value}")
        if not self.has_hub and (option, value) == ("--model", "gpt2"):
            output_lines = f"Loading gpt2 model...\n{HUB_OUT_OF_REACH}\n"
            raise StepError("exporter", output=output_lines, exit_code=export.BAD_INPUT)
        Path(output).mkdir(exist_ok=True)
        (Path(output) / "config.json").write_text(f"{option} {value}")
        return ""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(benchmark, "MODELS", tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    stand_in = Exporter()
    monkeypatch.setattr(export, "run", stand_in.run)
    return stand_in


def test_default_is_exported_once(models: Path, exporter: Exporter) -> None:
    benchmark.export_default()
    benchmark.export_default()
    benchmark.export_chosen(Source("--model", "gpt2"))
    assert exporter.sources == ["--model gpt2"]
    assert models.exists()


@pytest.mark.usefixtures("models")
def test_without_the_hub_random_weights_stand_in_and_the_hub_is_asked_once(
    exporter: Exporter, capsys: pytest.CaptureFixture[str]
) -> None:
    exporter.has_hub = False
    benchmark.export_default()
    said = [line for line in capsys.readouterr().out.splitlines() if "hub" in line]
    assert len(said) == 1
    assert "cannot reach the hub for 'gpt2'" in said[0]
    benchmark.export_default()
    assert exporter.sources == ["--model gpt2", "--random-init gpt2"]
    benchmark.export_chosen(Source("--random-init", "gpt2"))
    assert len(exporter.sources) == 2
    with pytest.raises(StepError):  # who asks for the real weights gets them or an error
        benchmark.export_chosen(Source("--model", "gpt2"))


@pytest.mark.usefixtures("models")
def test_another_source_is_exported(tmp_path: Path, exporter: Exporter) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_text("weights")
    source = Source("--model", str(checkpoint))
    benchmark.export_chosen(source)
    benchmark.export_chosen(source)
    assert exporter.sources == [str(source)]
    (checkpoint / "model.safetensors").write_text("other weights")
    benchmark.export_chosen(source)
    assert exporter.sources == [str(source), str(source)]
    benchmark.export_default()
    assert exporter.sources[2:] == ["--model gpt2"]


def test_a_model_that_was_exported_by_hand_is_left_alone(models: Path, exporter: Exporter) -> None:
    models.mkdir()
    (models / "config.json").write_text("by hand")
    benchmark.export_default()
    assert exporter.sources == []
    benchmark.export_chosen(Source("--random-init", "gpt2"))
    (models / "config.json").write_text("by hand again")
    benchmark.export_default()
    assert exporter.sources == ["--random-init gpt2"]


def test_a_changed_exporter_exports_again(
    models: Path, exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "exporter.py"
    program.write_text("one")
    monkeypatch.setattr(export, "EXPORTER", program)
    benchmark.export_default()
    program.write_text("two")
    benchmark.export_default()
    assert exporter.sources == ["--model gpt2", "--model gpt2"]
    assert models.exists()
