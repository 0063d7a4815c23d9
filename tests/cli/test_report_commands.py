"""kvcache compare and view, and bench --html: what they write, say and refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from programs import ROOT, Program, assert_error

RESULTS = ROOT / "bench" / "results"
QUICK = ["--prompt", 8, "--tokens", 6, "--depth", "2,6", "--repeat", 5]


@pytest.fixture(scope="module")
def measured(kvcache: Program, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    finished = kvcache("bench", model, *QUICK, "--json", file)
    assert finished.returncode == 0, finished.stderr
    return file


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> Path:
    from programs import MODELS

    return MODELS / "plain"


def changed(file: Path, target: Path, change: Any) -> Path:
    bench = json.loads(file.read_text())
    change(bench)
    target.write_text(json.dumps(bench))
    return target


# ---- bench ---------------------------------------------------------------------------------------


def test_several_modes_make_an_array_and_one_page(
    kvcache: Program, model: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    modes = ["--mode", "tree,recompute", "--siblings", 3, "--tokens", 20, "--repeat", 2]
    finished = kvcache("bench", model, *modes, "--json", "-", "--html", page)
    assert finished.returncode == 0, finished.stderr
    benches = json.loads(finished.stdout)
    assert [bench["mode"] for bench in benches] == ["recompute", "tree"]
    assert [point["tokens"] for point in benches[0]["curve"]] == [16, 20]
    for point in benches[0]["curve"]:
        pairs = zip(
            point["without_cache"]["samples_ms"], point["with_cache"]["samples_ms"], strict=True
        )
        assert point["speedup"]["samples"] == pytest.approx([a / b for a, b in pairs])
    assert benches[0]["agreement"]["tokens_compared"] == benches[0]["lengths_measured"]
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_page_without_a_mode_answers_what_is_asked_first(
    kvcache: Program, model: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    finished = kvcache("bench", model, "--html", page, "--repeat", 1)
    assert finished.returncode == 0, finished.stderr
    for mode in ("sequence", "recompute", "batch", "tree"):
        assert f"Mode       {mode}\n" in finished.stdout
    html = page.read_text()
    for heading in ("Latency by token and depth", "Speedup by length", "Memory", "Trees"):
        assert f">{heading}</h2>" in html


def test_baselines_stand_beside_what_was_measured(
    kvcache: Program, model: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    peers = RESULTS / "cpu-peers-smollm2.json"
    options = [*QUICK, "--mode", "sequence", "--html", page, "--baselines", peers]
    assert kvcache("bench", model, *options).returncode == 0
    html = page.read_text()
    assert "Baselines</h2>" in html
    assert "llama.cpp Q8_0" in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--html", "/missing/x.html"], "cannot write /missing/x.html"),
        (["--html", ""], "--html: the name of a file is missing"),
        (["--baselines", "x.json"], "--baselines requires --html"),
        (["--mode", "tree,fork", "--rows", 3], "--rows is for none of the modes"),
        (
            ["--html", "x.html", "--baselines", "/missing.json"],
            "/missing.json cannot be read: No such file or directory",
        ),
    ],
)
def test_bench_refuses_pages(
    kvcache: Program, model: Path, options: list[object], message: str
) -> None:
    finished = kvcache("bench", model, *options)
    assert_error(finished, 1 if "/missing/" in message else 2, message)


def test_baselines_of_another_kind_are_refused_before_anything_is_measured(
    kvcache: Program, model: Path, measured: Path, tmp_path: Path
) -> None:
    page = tmp_path / "x.html"
    finished = kvcache("bench", model, "--html", page, "--baselines", measured)
    assert_error(finished, 2, 'field "format" is "kvcache-bench", must be kvcache-peers')
    assert not page.exists()


# ---- compare -------------------------------------------------------------------------------------


def test_a_run_compared_with_itself_does_not_differ(kvcache: Program, measured: Path) -> None:
    finished = kvcache("compare", measured, measured)
    assert finished.returncode == 0, finished.stderr
    assert "no difference beyond the spread" in finished.stdout
    for word in ("faster |", "slower |", "Not alike"):
        assert word not in finished.stdout
    assert "Mann-Whitney U test" in finished.stdout


def test_what_is_slower_in_every_round_is_told(
    kvcache: Program, measured: Path, tmp_path: Path
) -> None:
    def slow_down(bench: dict) -> None:
        for entry in bench["decode"]:
            entry["samples_ms"] = [50 * sample for sample in entry["samples_ms"]]
        bench["threads"] += 1
        bench["environment"]["processor"] = "another"

    slower = changed(measured, tmp_path / "slower.json", slow_down)
    page = tmp_path / "page.html"
    finished = kvcache("compare", measured, slower, "--html", page)
    assert finished.returncode == 0, finished.stderr
    rows = {
        line.split("|")[1].strip(): line for line in finished.stdout.splitlines() if "|" in line
    }
    assert rows["a token at depth 2"].endswith("slower |")
    assert rows["a token at depth 6"].endswith("slower |")
    assert rows["prefill of 8 tokens"].endswith("no difference beyond the spread |")
    assert rows["memory at the peak"].endswith("one value each, not judged |")
    assert "Not alike  processor: " in finished.stdout
    assert "Not alike  threads: " in finished.stdout
    assert "Not measured alike</h2>" in page.read_text()
    assert "faster |" in kvcache("compare", slower, measured).stdout


def test_few_rounds_are_told_from_no_difference(
    kvcache: Program, measured: Path, tmp_path: Path
) -> None:
    def three_rounds(bench: dict) -> None:
        bench["rounds"] = 3
        bench["prefill"]["samples_ms"] = bench["prefill"]["samples_ms"][:3]
        for entry in bench["decode"]:
            entry["samples_ms"] = entry["samples_ms"][:18]
            entry["weights_ratio"]["samples"] = entry["weights_ratio"]["samples"][:3]

    def slower(bench: dict) -> None:
        three_rounds(bench)
        bench["prefill"]["samples_ms"] = [1000 + ms for ms in bench["prefill"]["samples_ms"]]

    first = changed(measured, tmp_path / "first.json", three_rounds)
    second = changed(measured, tmp_path / "second.json", slower)
    rows = kvcache("compare", first, second).stdout.splitlines()
    prefill = next(row for row in rows if "prefill" in row)
    assert prefill.endswith("too few rounds to tell |")


def test_figures_of_one_run_alone_are_named(
    kvcache: Program, measured: Path, tmp_path: Path
) -> None:
    fewer = changed(measured, tmp_path / "fewer.json", lambda bench: bench["decode"].pop())
    assert "Only one   a token at depth 6 (first)" in kvcache("compare", measured, fewer).stdout


def test_what_does_not_agree_is_not_compared(
    kvcache: Program, measured: Path, tmp_path: Path
) -> None:
    def break_it(bench: dict) -> None:
        bench["agreement"]["holds"] = False

    page = tmp_path / "page.html"
    broken = changed(measured, tmp_path / "broken.json", break_it)
    finished = kvcache("compare", measured, broken, "--html", page)
    assert finished.returncode == 1
    assert "the second run of mode sequence: cached and uncached do not agree" in finished.stderr
    assert "slower" not in finished.stdout
    assert "No comparison" in page.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON (byte 2); give a file that kvcache bench --json wrote"),
        ("[]", "must hold at least one measurement"),
        ("{}", 'field "format" is missing'),
        ('{"format": "kvcache-bars"}', 'field "format" is "kvcache-bars", must be kvcache-bench'),
        ('{"format": "kvcache-bench", "format_version": 9}', "must be a whole number from 1 to 3"),
    ],
)
def test_compare_refuses_what_is_no_measurement(
    kvcache: Program, measured: Path, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    assert_error(kvcache("compare", measured, file), 2, str(file), message)
    assert_error(kvcache("compare", measured, "/missing.json"), 2, "/missing.json cannot be read")


def test_compare_refuses_other_modes(kvcache: Program, measured: Path) -> None:
    finished = kvcache("compare", measured, RESULTS / "window-10000.json")
    assert_error(finished, 2, 'field "mode" is "window"', "the first file, which has sequence")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("prefill", "samples_ms"), [], "must hold at least one sample"),
        (("prefill", "samples_ms"), [1, "x"], 'field "prefill.samples_ms[1]" is "x"'),
        (("prefill", "samples_ms"), [0], "must be a number from 1e-300"),
        (("rounds",), 0, 'field "rounds" is 0, must be a whole number from 1'),
        (("mode",), "fly", 'field "mode" is "fly", must be a mode of'),
    ],
)
def test_compare_names_the_field_that_is_wrong(
    kvcache: Program, measured: Path, place: tuple, value: object, message: str
) -> None:
    def change(bench: dict) -> None:
        for name in place[:-1]:
            bench = bench[name]
        bench[place[-1]] = value

    wrong = changed(measured, measured.with_name("wrong.json"), change)
    assert_error(kvcache("compare", wrong, wrong), 2, message)


# ---- view ----------------------------------------------------------------------------------------


def test_view_writes_beside_the_file_and_says_where(
    kvcache: Program, measured: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    shutil.copy(measured, file)
    finished = kvcache("view", file)
    assert finished.stdout == f"{tmp_path / 'bench.html'}\n"
    other = tmp_path / "page.html"
    assert kvcache("view", file, "--html", other).stdout == f"{other}\n"
    assert other.read_text() == (tmp_path / "bench.html").read_text()


def test_speeds_of_what_does_not_agree_are_left_out(
    kvcache: Program, measured: Path, tmp_path: Path
) -> None:
    def break_it(bench: dict) -> None:
        bench["broken"] = ["rounds chose different tokens"]

    broken = changed(measured, tmp_path / "broken.json", break_it)
    kvcache("view", broken)
    html = (tmp_path / "broken.html").read_text()
    assert "rounds chose different tokens" in html
    assert "Latency by token" not in html


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", "is 7, must be a measurement, a tree or a search; give what kvcache bench"),
        ('{"tokens": [1, 2], "parents": [-1]}', "must have one parent for each of the 2 tokens"),
        ('{"tokens": [1], "parents": [0]}', "must be a whole number from -1 to -1"),
        ('{"tokens": [], "parents": []}', "must hold at least one token"),
        ('{"tokens": [1, 2], "parents": [-1, 1]}', 'field "parents[1]" is 1'),
        ('{"nodes": []}', "must hold at least the root"),
        ('{"nodes": []}\n{"nodes": \n', "line 2 is not JSON"),
        ('{"format": "gguf"}', 'field "format" is "gguf", must be kvcache-bench, kvcache-peers'),
    ],
)
def test_view_refuses_what_it_cannot_draw(
    kvcache: Program, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert_error(kvcache("view", file), 2, message)
    assert not (tmp_path / "x.html").exists()


def test_view_refuses_a_search_that_is_not_there(
    kvcache: Program, measured: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text('{"tokens": [1], "parents": [-1]}')
    assert_error(kvcache("view", tree, "--search", 2), 2, "--search is for traces, and")
    assert_error(kvcache("view", measured, tree), 2, "is a tree, which is drawn alone")


def test_view_draws_the_searches_of_self_play(kvcache: Program, tmp_path: Path) -> None:
    from programs import runner

    trace = tmp_path / "trace.jsonl"
    play = ["--player", "rollouts", "--simulations", 40, "--max-moves", 3, "--board", "3x3x1"]
    finished = runner("trigo_selfplay")(*play, "--trace", trace)
    assert finished.returncode == 0, finished.stderr
    assert kvcache("view", trace, "--search", 3).returncode == 0
    assert "search 3 of 3" in (tmp_path / "trace.html").read_text()
    finished = kvcache("view", trace, "--search", 4)
    assert_error(finished, 2, "--search is 4, must be from 1 to 3, the searches in")
