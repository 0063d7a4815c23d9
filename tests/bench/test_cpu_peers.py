"""The table of bench/peers/cpu_peers.py, from raw figures; and what its command refuses."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import agreement
import cpu_peers
import numpy as np
import peer_table
import pytest
from processes import ProcessError
from rounds import SECONDS

BANDWIDTH = 40e9
STOPPED_AT = 3  # the third of the processes


def run_of(scale: float) -> dict[str, Any]:
    """Figures of one process, all times so many times as long."""
    return {
        "decode_ms_8": [10 * scale, 11 * scale, 30 * scale],
        "decode_ms_512": [20 * scale],
        "prefill_ms": [400 * scale],
        "row_step_ms": [32 * scale],
        "peak_bytes": 600 << 20,
        "load_ms": 100 * scale,
        "token_1_ms": 120 * scale,
        "token_16_ms": 280 * scale,
        "token_64_ms": 900 * scale,
        "quiet": True,
    }


def baseline(runtime: str, variant: str, scales: list[float], **others: Any) -> dict[str, Any]:
    figures = {"top1": 1.0, "kl_divergence": 1e-7, "rms_difference": 1e-4, "holds": True}
    return {
        "runtime": runtime,
        "width": "float32",
        "variant": variant,
        "agreement": {**figures, "greedy_equal": 129, "greedy_of": 130},
        "runs": [run_of(scale) for scale in scales],
        **others,
    }


@pytest.fixture
def raw() -> dict[str, Any]:
    return {
        "format": "kvcache-peers",
        "depths": [8, 512],
        "environment": {"processor": "a processor", "date": "2026-01-02"},
        "threads": 2,
        "cores": [0, 1],
        "rounds": 3,
        "tokens": 65,
        "versions": {"peer": "1.2"},
        "bandwidth": [BANDWIDTH] * 3,
        "baselines": [
            baseline("kvcache", "float32", [1, 2, 1]),
            baseline("peer", "f32", [1.5, 2, 1.2]),
        ],
        "skipped": [],
    }


def line_of(table: str, name: str) -> list[str]:
    line = next(line for line in table.splitlines() if f"| {name} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_medians_over_processes_with_their_spread(raw: dict) -> None:
    cells = line_of(peer_table.markdown(raw), "kvcache float32")
    assert cells[2] == "11.00 (11.00 … 22.00)"  # the median token of each process, then of those
    assert cells[7] == "600"
    assert cells[6] == "500 (250 … 500)"  # 16 tokens a step


def test_ratios_are_taken_round_by_round(raw: dict) -> None:
    cells = line_of(peer_table.markdown(raw), "peer f32")
    # 1.5, 1.0 and 1.2 times; the ratio of the medians would be 1.5.
    assert cells[2] == "16.50 (13.20 … 22.00) **1.20×**"
    assert cells[6].endswith("**1.20×**")  # of the time of a step, not of tokens per second


def test_first_tokens_are_medians_since_the_start(raw: dict) -> None:
    assert line_of(peer_table.markdown(raw), "peer f32")[9] == "180 / 420 / 1,350"


def test_shares_of_the_floor_are_those_of_all_groups(raw: dict) -> None:
    shares = [[0.9, 0.9, 0.5], [0.7, 0.8, 0.95], [0.91, 0.92, 0.93]]
    for run, values in zip(raw["baselines"][0]["runs"], shares, strict=True):
        run["bandwidth_share"] = {"8": values, "512": [0.5]}
    table = peer_table.markdown(raw)
    assert line_of(table, "kvcache float32")[4] == "90% (80 … 92) / 50% (50 … 50)"
    assert line_of(table, "peer f32")[4] == "–"


def test_others_are_compared_with_the_fastest_variant(raw: dict) -> None:
    own = copy.deepcopy(raw["baselines"][0])
    raw["baselines"].append({**own, "variant": "faster", "runs": [run_of(0.5)] * 3})
    table = peer_table.markdown(raw)
    assert line_of(table, "peer f32")[3].endswith("**3.00×**")
    assert line_of(table, "kvcache float32")[3].endswith("**2.00×**")
    assert "×" not in line_of(table, "kvcache faster")[3]


def test_none_is_compared_with_a_variant_that_has_no_speeds(raw: dict) -> None:
    own = copy.deepcopy(raw["baselines"][0])
    own["agreement"]["holds"] = False
    raw["baselines"].append({**own, "variant": "wrong", "runs": [run_of(0.5)] * 3})
    assert line_of(peer_table.markdown(raw), "peer f32")[3].endswith("**1.20×**")


def test_no_speed_without_agreement(raw: dict) -> None:
    raw["baselines"][1]["agreement"] |= {"holds": False, "rms_difference": 0.7, "top1": 0.25}
    cells = line_of(peer_table.markdown(raw), "peer f32")
    assert cells[2] == "no speeds: logits differ by 0.7 of their deviation"
    assert cells[3:10] == [""] * 7
    assert cells[10] == "25.0%"


def test_failures_and_what_was_left_out_are_said(raw: dict) -> None:
    raw["baselines"][1] |= {"failed": "failed: no such library", "runs": []}
    raw["skipped"] = [{"name": "kvcache int9", "reason": "the exporter has no such weights"}]
    raw["baselines"][0]["runs"][0]["quiet"] = False
    table = peer_table.markdown(raw)
    assert line_of(table, "peer f32")[2] == "failed: no such library"
    assert "Left out: kvcache int9: the exporter has no such weights" in table
    assert "Other processes disturbed 1 of 3 processes." in table


def test_every_row_has_the_columns_of_the_header(raw: dict) -> None:
    raw["baselines"].append(baseline("peer", "failing", [], failed="failed: x"))
    raw["baselines"].append(baseline("peer", "rowless", [1, 1, 1]))
    for run in raw["baselines"][-1]["runs"]:
        run["row_step_ms"] = []
    wrong = baseline("peer", "wrong", [1, 1, 1])
    wrong["agreement"]["holds"] = False
    raw["baselines"].append(wrong)
    rows = [line for line in peer_table.markdown(raw).splitlines() if line.startswith("|")]
    columns = len(peer_table.Results(raw).header())
    assert {row.count("|") for row in rows} == {columns + 1}
    raw["depths"].append(4096)
    for each in raw["baselines"]:
        for run in each["runs"]:
            run["decode_ms_4096"] = run["decode_ms_512"]
            if "bandwidth_share" in run:
                run["bandwidth_share"]["4096"] = run["bandwidth_share"]["512"]
    rows = [line for line in peer_table.markdown(raw).splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {columns + 2}


def test_memory_is_told_over_files_and_cache(raw: dict) -> None:
    raw["baselines"][0] |= {"model_bytes": 500 << 20, "cache_bytes": 100 << 20}
    raw["baselines"][0]["export_peak_bytes"] = 900 << 20
    for run in raw["baselines"][0]["runs"]:
        run["loaded_bytes"] = 480 << 20
    table = peer_table.markdown(raw)
    assert line_of(table, "kvcache float32")[7] == "600 (1.00×)"
    assert line_of(table, "peer f32")[7] == "600"
    # The bar is 1.1 × 500 MiB + 100 MiB + 100 MB = 745 MiB.
    assert (
        "Memory of kvcache float32: files 500 MiB, cache 100 MiB; peak of export 900 MiB (1.50×,"
        " above the bar), load 480 MiB (0.80×, within the bar), decoding 600 MiB (1.00×, within"
        " the bar)."
    ) in table


def test_the_reference_and_random_weights_are_named(raw: dict) -> None:
    assert "greedy tokens: against kvcache float32." in peer_table.markdown(raw)
    assert "Random weights" not in peer_table.markdown(raw | {"model": "a trained one"})
    raw |= {"reference": "kvcache float16, cache float16", "model": "some random weights"}
    table = peer_table.markdown(raw)
    assert "greedy tokens: against kvcache float16, cache float16." in table
    assert "Random weights: the figures of the logits tell" in table


def test_the_cache_is_counted_at_the_deepest_token(
    measurement: cpu_peers.Measurement,
) -> None:
    llama, ct2 = measurement.baselines
    positions = 512 + 64
    assert measurement._memory(llama)["cache_bytes"] == 2 * 30 * 3 * 64 * 2 * positions
    assert "cache_bytes" not in measurement._memory(ct2)  # nobody tells its type


def test_agreement_tells_rounding_from_another_model() -> None:
    random = np.random.default_rng(1)
    reference = random.normal(size=(20, 500)).astype(np.float32)
    same = agreement.compare(reference, reference)
    assert (same.rms_difference, same.kl_divergence, same.top1) == (0, 0, 1)
    noise = random.normal(size=reference.shape).astype(np.float32)
    rounded = agreement.compare(reference, reference + 0.05 * noise)
    assert rounded.rms_difference == pytest.approx(0.05, rel=0.05)
    assert rounded.kl_divergence == pytest.approx(0.05**2 / 2, rel=0.2)  # of a normal shift
    assert rounded.holds("int8")
    assert not rounded.holds("16-bit")
    other = agreement.compare(reference, noise)
    for limits in (agreement.LIMITS, agreement.LIMITS_OF_RANDOM_1B):
        assert not any(other.holds(width, limits) for width in limits)


def test_agreement_refuses_what_cannot_be_compared() -> None:
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"logits of \(2, 4\), expected \(2, 3\)"):
        agreement.compare(logits, np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        agreement.compare(logits, np.full((2, 3), np.nan, np.float32))


@pytest.fixture
def measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cpu_peers.Measurement:
    """Two baselines whose processes are made up."""
    monkeypatch.setattr(cpu_peers, "RUN", tmp_path / "run")
    arguments = cpu_peers.parser().parse_args(
        ["--rounds", "2", "--widths", "float32", "--runtimes", "llama.cpp,CTranslate2"]
    )
    result = cpu_peers.Measurement(arguments)
    agreement_of_all = baseline("", "", [])["agreement"]
    monkeypatch.setattr(result, "_agreement", lambda *_: dict(agreement_of_all))
    attention = {"num_kv_heads": 3, "head_dim": 64}
    monkeypatch.setattr(result, "_spec", lambda: {"layers": [{"attention": attention}] * 30})
    return result


def reference_is_there() -> None:
    (cpu_peers.RUN / cpu_peers.REFERENCE).touch()
    (cpu_peers.RUN / "reference.json").write_text(json.dumps({SECONDS: 60}))


def process_of(command: list) -> dict:
    """What the made up processes print."""
    if "bench" in command:
        return {
            "read_bandwidth": {"bytes_per_second": BANDWIDTH},
            "environment": {"kvcache_version": "0", "processor": "a processor"},
        }
    return {**run_of(1), "versions": {"ctranslate2": "4"}}


def test_a_run_goes_on_after_the_last_process_that_ended(
    measurement: cpu_peers.Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs: list[str] = []
    stops = iter([True])  # once

    def process(command: list) -> dict:
        programs.append("bench" if "bench" in command else Path(str(command[-6])).name)
        if len(programs) == STOPPED_AT and next(stops, False):
            raise KeyboardInterrupt
        return process_of(command)

    monkeypatch.setattr(measurement, "_process", process)
    measurement.begin(resume=False)
    reference_is_there()
    with pytest.raises(KeyboardInterrupt):
        measurement.measure()
    stopped = programs.pop()  # its figures are not there
    measurement.begin(resume=True)
    raw = measurement.results(measurement.measure())
    whole_round = ["bench", "llama-F32.gguf", "ct2-float32"]
    assert stopped == programs[STOPPED_AT - 1] == "ct2-float32"
    assert programs == [*whole_round, *reversed(whole_round)]
    assert [len(one["runs"]) for one in raw["baselines"]] == [2, 2]
    assert peer_table.markdown(raw).count("11.00 (11.00 … 11.00)") == 2
    measurement.begin(resume=False)
    assert [path.name for path in cpu_peers.RUN.iterdir()] == ["settings.json"]


def test_rounds_of_other_settings_are_not_mixed(measurement: cpu_peers.Measurement) -> None:
    with pytest.raises(ProcessError, match="no run to resume in"):
        measurement.begin(resume=True)
    measurement.begin(resume=False)
    measurement.tokens += 1
    with pytest.raises(ProcessError, match="has other tokens; give the options it was started"):
        measurement.begin(resume=True)


def test_a_failure_of_one_does_not_end_the_round(
    measurement: cpu_peers.Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    def process(command: list) -> dict:
        if "decode_llama" in str(command[0]):
            raise ProcessError("no such model")
        return process_of(command)

    monkeypatch.setattr(measurement, "_process", process)
    measurement.begin(resume=False)
    reference_is_there()
    raw = measurement.results(measurement.measure())
    failed, measured = raw["baselines"]
    assert failed["failed"] == "failed: no such model"
    assert len(measured["runs"]) == 2
    assert raw["versions"]["ctranslate2"] == "4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--widths", "int3"], "int3 is not one of float32, 16-bit, int8, int4"),
        (["--runtimes", "vllm"], "vllm is not one of kvcache, llama.cpp"),
        (["--rounds", "0"], "must be a whole number above 0: '0'"),
        (["--cores", "0,999"], "'0,999' does not name cores of"),
    ],
)
def test_wrong_options_are_told_at_once(
    options: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        cpu_peers.parser().parse_args(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_table_of_a_file_and_what_is_no_such_file(
    raw: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["peer_table.py", str(path)])
    assert peer_table.main() == 2
    assert "cannot be read" in capsys.readouterr().err
    path.write_text("{}")
    assert peer_table.main() == 2
    assert "was not written by cpu_peers.py" in capsys.readouterr().err
    path.write_text(json.dumps(raw))
    assert peer_table.main() == 0
    assert "| peer f32 |" in capsys.readouterr().out
