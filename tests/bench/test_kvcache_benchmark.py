"""docs/KVCACHE_BENCHMARK.md is what the raw measurements give, and says what they miss."""

import json
from pathlib import Path

import benchmark_plots
import kvcache_benchmark
import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"


@pytest.fixture
def gpu() -> dict:
    return kvcache_benchmark.read(RESULTS / "gpu.json")


@pytest.fixture
def cpu() -> dict:
    return kvcache_benchmark.read(RESULTS / "cpu-bars.json")


def test_the_document_is_what_the_measurements_give() -> None:
    assert kvcache_benchmark.main(["--check"]) == 0


def test_the_plots_are_what_the_measurements_give(tmp_path: Path, gpu: dict, cpu: dict) -> None:
    benchmark_plots.write(tmp_path, gpu, kvcache_benchmark.cpu_speedup(cpu))
    plots = sorted(path.name for path in tmp_path.iterdir())
    assert plots == ["batch.svg", "decode.svg", "speedup.svg"]
    for name in plots:
        assert (tmp_path / name).read_bytes() == (ROOT / "docs" / "plots" / name).read_bytes()


def test_a_missed_target_is_said(gpu: dict, cpu: dict) -> None:
    line = "| device memory over 10,000 tokens | constant |"
    assert f"{line} +0 bytes | met |" in kvcache_benchmark.document(gpu, cpu)
    gpu["steady"]["driver_bytes_last"] += 4096
    assert f"{line} +4,096 bytes | **missed** |" in kvcache_benchmark.document(gpu, cpu)


def test_a_peer_that_failed_is_said(gpu: dict, cpu: dict) -> None:
    gpu["peers"] = [{"name": "genai", "shape": "gpt2", "failed": "took more than 70 s"}]
    assert "| genai | – | failed: took more than 70 s | – |" in kvcache_benchmark.document(gpu, cpu)


def test_an_outdated_document_is_found_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    document = tmp_path / "KVCACHE_BENCHMARK.md"
    document.write_text("old")
    assert kvcache_benchmark.main(["--check", "--docs", str(tmp_path)]) == 1
    assert "is not what bench/results gives" in capsys.readouterr().out
    assert document.read_text() == "old"
    assert kvcache_benchmark.main(["--docs", str(tmp_path)]) == 0
    assert kvcache_benchmark.main(["--check", "--docs", str(tmp_path)]) == 0


def test_missing_measurements_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture, gpu: dict
) -> None:
    results = ["--results", str(tmp_path), "--docs", str(tmp_path)]
    assert kvcache_benchmark.main(results) == 2
    assert "gpu.json cannot be read (No such file or directory); bench/gpu_bars.py" in (
        capsys.readouterr().err
    )
    (tmp_path / "gpu.json").write_text("[1]")
    assert kvcache_benchmark.main(results) == 2
    assert "gpu.json must hold a JSON object" in capsys.readouterr().err
    (tmp_path / "gpu.json").write_text("{")
    assert kvcache_benchmark.main(results) == 2
    assert "gpu.json is no JSON" in capsys.readouterr().err
    gpu["batch"] = [row for row in gpu["batch"] if row["rows"] != 64]
    (tmp_path / "gpu.json").write_text(json.dumps(gpu))
    (tmp_path / "cpu-bars.json").write_bytes((RESULTS / "cpu-bars.json").read_bytes())
    assert kvcache_benchmark.main(results) == 2
    assert "a measurement is missing: KeyError('dtype float16, rows 64')" in capsys.readouterr().err
    assert not (tmp_path / "KVCACHE_BENCHMARK.md").exists()
