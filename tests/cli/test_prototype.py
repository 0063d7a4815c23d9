"""The specification's benchmark: the lines it prints, and its exit status."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from programs import BUILD, ROOT, Program, assert_error


@pytest.fixture(scope="module")
def output(prototype: Program, model: Path) -> str:
    finished = prototype("--model", model, "--tokens", 40)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_basic_inference(output: str, config: dict) -> None:
    assert "✓ Model loaded successfully\n" in output
    lines = re.findall(
        r"^Token ([ \d]\d): input=(\d+) \| latency= *\d+\.\d\dms \| top_pred=(\d+)$",
        output,
        re.MULTILINE,
    )
    assert [int(number) for number, _, _ in lines] == list(range(1, 11))
    assert int(lines[0][1]) == config["vocab_size"] - 1
    for (_, _, predicted), (_, given, _) in itertools.pairwise(lines):
        assert predicted == given


@pytest.mark.parametrize(
    ("heading", "labels"),
    [
        (
            "[Scenario A] Sequential generation WITH KV cache",
            ["Total", "Average per token", "First token", "Subsequent average", "Speedup"],
        ),
        (
            "[Scenario B] Recomputing full sequence WITHOUT KV cache",
            ["Total", "Average per token"],
        ),
        ("[Performance Summary]", ["Overall speedup", "Time saved", "Efficiency"]),
    ],
)
def test_comparison(output: str, heading: str, labels: list[str]) -> None:
    section = output.split(heading + "\n", 1)[1].split("\n\n", 1)[0]
    for label in labels:
        assert re.search(rf"^  {label}: +-?[\d.]+", section, re.MULTILINE)


def test_the_curve_and_the_target(output: str) -> None:
    points = re.findall(r"^\| (\d+) +\|.*\| +[\d.]+x \|$", output, re.MULTILINE)
    assert points == ["16", "32", "40"]
    assert re.search(r"^Target of 10x: (reached at \d+|not reached within 40) new", output, re.M)


def test_agreement(output: str) -> None:
    assert "✓ Both scenarios produced the same tokens: 40 of 40 tokens equal" in output
    assert "largest logit difference" in output


def test_memory(output: str, config: dict) -> None:
    sizes = [config[name] for name in ("num_layers", "num_heads", "max_seq_len", "head_dim")]
    expected = 2 * 4
    for size in sizes:
        expected *= size
    assert re.search(rf"Allocated: .*\({expected} bytes\)", output)
    assert re.search(rf"Theoretical: .*\({expected} bytes =", output)
    assert "✓ Allocated equals theoretical" in output
    assert "✓ Bytes of cache copied after the first token: 0" in output
    assert "✓ Cache allocations after the first token: 0" in output
    assert output.endswith("\nAll tests passed\n")


def test_default_number_of_tokens_fits_the_model(
    prototype: Program, model: Path, config: dict
) -> None:
    finished = prototype("--model", model)
    assert finished.returncode == 0, finished.stdout
    expected = min(256, config["max_seq_len"])
    assert f"{expected} of {expected} tokens equal" in finished.stdout


def test_finds_models_beside_or_above(prototype: Program, tmp_path: Path, model: Path) -> None:
    (tmp_path / "models").symlink_to(model)
    below = tmp_path / "build"
    below.mkdir()
    for directory in (tmp_path, below):
        assert prototype("--tokens", 2, cwd=directory).returncode == 0


def test_kept_on_the_cpu(prototype: Program, model: Path) -> None:
    finished = prototype("--model", model, "--tokens", 2, env={"TRIGO_FORCE_CPU": "1"})
    assert finished.returncode == 0, finished.stderr
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
