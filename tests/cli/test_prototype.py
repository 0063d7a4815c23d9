"""The specification's benchmark: the lines it prints, and its exit status."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import BUILD, ROOT, Program, assert_error

TOKENS = 100
# Large enough that recomputing 100 tokens takes several times as long as decoding them, whatever
# else the machine does, and small enough to be exported in a second.
CONFIG = {
    "model_type": "gpt2",
    "vocab_size": 1000,
    "n_positions": 128,
    "n_embd": 256,
    "n_layer": 4,
    "n_head": 4,
}
CACHE_BYTES = 2 * 4 * 1 * 4 * 128 * 64 * 4  # 2 · layers · batch · heads · positions · head_dim · 4

# The specification's text, and in angle brackets the lines that are more than it asks for. N.NN is
# a number with so many decimals, N one without, and … anything.
TOKEN_LINES = "\n".join(
    f"Token {i:2}: input=N | latency=   N.NNms | top_pred=N" for i in range(1, 11)
)
OUTPUT = f"""
=== Test 1: basic inference ===

✓ Model loaded successfully
<  cpu: …; cuda: …>

{TOKEN_LINES}

=== Test 2: {TOKENS} tokens with and without the cache ===

[Scenario A] Sequential generation WITH KV cache
  Total time: N.NN ms
  Avg per token: N.NN ms
  First token: N.NN ms
  Subsequent avg: N.NN ms
  Speedup: N.NN×
<  (This speedup is the first token's time over the subsequent average.)>

[Scenario B] Recomputing full sequence WITHOUT KV cache
  Total time: N.NN ms
  Avg per token: N.NN ms
<  Measured: all {TOKENS} lengths>

[Performance Summary]
  Overall speedup: N.NN×
  Time saved: N.NN ms
  Efficiency: N.N% of no-cache time
<  Tokens evaluated: {TOKENS} instead of {TOKENS * (TOKENS + 1) // 2}>

✓ Test passed: Significant speedup achieved (N.NN×)

<| New tokens | With cache (ms) | Without (ms) | Speedup |>
<| ---------- | --------------: | -----------: | ------: |>
<| 16         | … |>
<| 32         | … |>
<| 64         | … |>
<| {TOKENS}        | … |>

<Target of 10x: … new tokens…>

<✓ Both scenarios produced the same tokens: {TOKENS} of {TOKENS} tokens equal; largest logit …>

=== Test 3: memory of the cache ===

KV Cache Memory:
  Allocated: 1.05 MB
  Theoretical: 1.05 MB

✓ Memory allocation matches theoretical calculation
<  {CACHE_BYTES} bytes = 2 x 4 layers x 1 x 4 heads x 128 positions x 64 x 4 bytes>
<✓ Bytes of cache copied after the first token: 0>
<✓ Cache allocations after the first token: 0>

<All tests passed>
"""


def pattern(line: str) -> str:
    """The regular expression of a line of OUTPUT."""
    text = re.escape(re.sub(r"^<(.*)>$", r"\1", line)).replace("…", ".*")
    text = re.sub(r"latency=(?:\\ )*", "latency= *", text)  # right-aligned
    text = re.sub(r"\bN\\\.(N+)(?![A-Z])", lambda n: rf"-?\d+\.\d{{{len(n[1])}}}", text)
    return re.sub(r"\bN\b", r"\\d+", text)


@pytest.fixture(scope="module")
def output(prototype: Program, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("prototype")
    (directory / "gpt2.json").write_text(json.dumps(CONFIG))
    export = [sys.executable, ROOT / "export_gpt2_kvcache.py", "--output", directory / "models"]
    subprocess.run(
        [*export, "--random-init", directory / "gpt2.json"], check=True, capture_output=True
    )
    finished = prototype("--model", directory / "models", "--tokens", TOKENS)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def assert_status_says_what_is_printed(finished: subprocess.CompletedProcess[str]) -> None:
    """On the tiniest models, the cache may be slower: then that, and nothing else, failed."""
    assert not finished.stderr
    faster = "\n✓ Test passed: Significant speedup achieved (" in finished.stdout
    slower = "\n✗ Test failed: No speedup achieved (" in finished.stdout
    assert faster != slower, finished.stdout
    assert finished.stdout.count("✗ ") == slower, finished.stdout
    assert finished.returncode == slower, finished.stdout


def test_prints_what_the_specification_says(output: str) -> None:
    for line, expected in itertools.zip_longest(output.split("\n"), OUTPUT.split("\n")):
        assert line is not None, f"{expected!r} is missing"
        assert expected is not None, f"{line!r} is too much"
        assert re.fullmatch(pattern(expected), line), f"{line!r} is not {expected!r}"


def test_verdict_says_the_overall_speedup(output: str) -> None:
    (overall,) = re.findall("Overall speedup: (.*)×", output)
    assert f"Significant speedup achieved ({overall}×)\n" in output


def test_every_token_is_the_prediction_before(output: str) -> None:
    lines = re.findall(r"^Token .*: input=(\d+) .* top_pred=(\d+)$", output, re.MULTILINE)
    assert len(lines) == 10
    assert int(lines[0][0]) == CONFIG["vocab_size"] - 1
    for (_, predicted), (given, _) in itertools.pairwise(lines):
        assert predicted == given


def test_default_number_of_tokens_fits_the_model(
    prototype: Program, model: Path, config: dict
) -> None:
    finished = prototype("--model", model)
    assert_status_says_what_is_printed(finished)
    expected = min(256, config["spec"]["max_seq_len"])
    assert f"{expected} of {expected} tokens equal" in finished.stdout


def test_finds_models_beside_or_above(prototype: Program, tmp_path: Path, model: Path) -> None:
    (tmp_path / "models").symlink_to(model)
    below = tmp_path / "build"
    below.mkdir()
    for directory in (tmp_path, below):
        assert_status_says_what_is_printed(prototype("--tokens", 2, cwd=directory))


def test_kept_on_the_cpu(prototype: Program, model: Path) -> None:
    finished = prototype("--model", model, "--tokens", 2, env={"TRIGO_FORCE_CPU": "1"})
    assert_status_says_what_is_printed(finished)
    assert "\n  cpu: " in finished.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "/missing"], "/missing does not exist"),
        (["--tokens", "x"], '--tokens: "x" is not a whole number from 0 to 2147483647; see --help'),
        (["--tokens", "-1"], '"-1" is not a whole number'),
        (["--tokens", "2.5"], '"2.5" is not a whole number'),
        (["--tokens", str(2**64 + 2)], "is not a whole number"),
        (["--fast"], "--fast"),
        (["--device", "gpu"], "--device"),
        (
            ["--count-copies"],
            "--count-copies needs CUPTI, which this build has not; configure with",
        ),
    ],
)
def test_bad_input(prototype: Program, options: list[str], message: str) -> None:
    assert_error(prototype(*options), 2, message)


def test_a_gpu_that_cannot_be_had(prototype: Program, model: Path) -> None:
    finished = prototype("--model", model, "--device", "cuda")
    assert_error(finished, 2, "require_device is cuda, which cannot be used: not in this build")


@pytest.mark.parametrize("tokens", [0, 1, 100_000])
def test_too_few_or_too_many_tokens(prototype: Program, model: Path, tokens: int) -> None:
    finished = prototype("--model", model, "--tokens", tokens)
    assert_error(finished, 2, f"--tokens is {tokens}, must be between 2 and")


def test_help(prototype: Program) -> None:
    finished = prototype("--help")
    assert finished.returncode == 0
    assert "Exit status: 0 everything held, 1 something did not, 2 bad" in finished.stdout


def test_program_lies_where_the_specification_says() -> None:
    assert (BUILD / "test_kvcache_prototype").exists()
    assert (ROOT / "test_kvcache.cpp").exists()
