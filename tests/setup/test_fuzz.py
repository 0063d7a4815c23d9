"""What scripts/lib/fuzz.py says of a machine without libFuzzer, and of a finding."""

from pathlib import Path

import fuzz
import pytest
from steps import StepError

IN_CPP = ["calls", "chat_template", "choices", "command_line", "config", "decoding"]
IN_CPP += ["report", "saved_state", "slash_command", "tokenizer", "tree_file", "trigo"]


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_names_all() -> None:
    assert list(fuzz.names()) == sorted([*IN_CPP, "exporter"])


def test_without_clang_each_is_a_skip_and_the_exporters_runs(monkeypatch) -> None:
    monkeypatch.setattr(fuzz, "CLANGS", ("no-such-clang++",))
    monkeypatch.setattr(fuzz, "_fuzz_exporter", lambda seconds: f"ok, {seconds}")
    results = fuzz.run_fuzzers(7)
    assert str(results) == "1 passed, 0 failed, 12 skipped"
    reason = "needs clang and its libFuzzer: apt-get install clang-14 libclang-rt-14-dev"
    assert results.skipped == [f"fuzzer {name} ({reason})" for name in IN_CPP]


def test_a_clang_without_libfuzzer(monkeypatch, tmp_path) -> None:
    lame = executable(tmp_path / "clang++", "exit 1")
    monkeypatch.setattr(fuzz, "CLANGS", (str(lame),))
    with pytest.raises(StepError, match=r"clang\+\+ cannot link libFuzzer: apt-get install clang"):
        fuzz.find_compiler()


def test_a_finding_is_named_with_the_command_that_repeats_it(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(fuzz, "FUZZ_BUILD", tmp_path)
    monkeypatch.setattr(fuzz, "find_compiler", lambda: "clang++")
    monkeypatch.setattr(fuzz, "_build", lambda compiler, chosen: None)
    found = tmp_path / "config" / "found"
    program = executable(
        tmp_path / "tests" / "fuzz" / "config_fuzzer", f"touch {found}/crash-12; exit 77"
    )
    found.mkdir(parents=True)
    (found / "crash-of-yesterday").touch()
    results = fuzz.run_fuzzers(7, "config")
    assert (results.passed, results.failed) == (0, ["fuzzer config"])
    command = f"{program} -timeout=25 -rss_limit_mb=2048 {found}/crash-12"
    assert capsys.readouterr().out.count(f"This repeats it: {command}") == 1


def test_counts_are_told(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(fuzz, "FUZZ_BUILD", tmp_path)
    monkeypatch.setattr(fuzz, "find_compiler", lambda: "clang++")
    monkeypatch.setattr(fuzz, "_build", lambda compiler, chosen: None)
    said = "#2 INITED cov: 12\n#9 NEW cov: 345 ft: 9\nstat::number_of_executed_units: 678"
    executable(tmp_path / "tests" / "fuzz" / "config_fuzzer", f'echo "{said}"')
    results = fuzz.run_fuzzers(7, "config")
    assert (results.passed, results.failed) == (1, [])
    assert set(results.seconds) == {"build the fuzzers", "fuzzer config"}
    assert "fuzzer config, 7 s ... ok, 678 executions, 345 edges" in capsys.readouterr().out
