"""The command: what it prints, its exit codes, and one line for every error."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import checkpoints
import numpy as np
import pytest

from kvcache_export import cli, verify
from kvcache_export.cli import main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "export_gpt2_kvcache.py"


def refuse(
    arguments: list[object], capsys: pytest.CaptureFixture, *parts: str, code: int = 2
) -> None:
    """The arguments fail with one line that holds the parts."""
    try:
        returned = main([str(argument) for argument in arguments])
    except SystemExit as end:
        returned = end.code
    error = capsys.readouterr().err
    assert returned == code
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


def snapshot(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_script_prints_what_is_specified(tmp_path: Path):
    """In a directory of its own, with the default output directory."""
    (tmp_path / "config.json").write_text(json.dumps(checkpoints.SMALL))
    result = subprocess.run(
        [sys.executable, SCRIPT, "--random-init", "config.json", "--seed", "5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(
        r"""Loading config.json model...
Random weights, not trained \(seed 5\)
Model configuration:
  Layers: 2
  Heads: 2
  Head dimension: 12
  Vocabulary size: 61
  Max sequence length: 32
Exporting to ONNX: ./models/gpt2_with_cache.onnx
✓ Model exported successfully
✓ Configuration saved: ./models/config.json
✓ ONNX model is valid
✓ Cached and uncached logits agree: max difference \d\.\de-\d\d \(largest logit \d+\.\d\)
Model size: \d+ MB
""",
        result.stdout,
    )
    assert result.stderr == ""
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "config.json",
        "gpt2_with_cache.onnx",
        "gpt2_with_cache.onnx.data",
    ]


def test_a_bfloat16_model_is_said_to_be_run_in_float32(
    small_checkpoint: Path, export, capsys: pytest.CaptureFixture
):
    export("--model", small_checkpoint, "--dtype", "bfloat16")
    assert "agree (run in float32 with the bfloat16 weights): max" in capsys.readouterr().out


def test_model_size_is_that_of_all_files_in_decimal_megabytes(
    export, tmp_path: Path, capsys: pytest.CaptureFixture
):
    model = export("--model", checkpoints.write_random(tmp_path, vocab_size=40_000))
    size = sum(path.stat().st_size for path in model.glob("*.onnx*"))
    assert f"\nModel size: {size / 1e6:.0f} MB\n" in capsys.readouterr().out


def test_help_names_every_option(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "model",
        "random-init",
        "seed",
        "output-dir",
        "dtype",
        "cache-dtype",
        "weights",
        "rounding-ids",
        "calibration",
        "calibration-ids",
        "single-file",
    ):
        assert f"--{option}" in text
    assert "examples:" in text
    assert "exit codes:" in text


def test_every_example_of_the_help_parses():
    examples = re.findall(r"^  export_gpt2_kvcache\.py(.*?)  ", cli.EXAMPLES, re.MULTILINE)
    assert len(examples) == 5
    for arguments in examples:
        cli._parse(arguments.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "1"], "--seed has a meaning with --random-init only"),
        (["--random-init", "gpt2", "--seed", "-1"], "--seed must not be negative"),
        (["--random-init", "gpt2", "--seed", "x"], "--seed: invalid int value: 'x'"),
        (["--random-init", "gpt2", "--model", "gpt2"], "not allowed with argument"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--cache-dtype", "int4"], "invalid choice: 'int4'"),
        (["--model", ""], "argument --model: it is empty"),
        (["--random-init", ""], "argument --random-init: it is empty"),
        (["--output-dir", ""], "argument --output-dir: it is empty"),
        (["--rounding-ids", ""], "argument --rounding-ids: it is empty"),
        (["--weights-overrides", ""], "argument --weights-overrides: it is empty"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["--random-init", "gpt5"], "no such architecture or file: 'gpt5'"),
        (["--model", "./nowhere"], "no such directory: './nowhere'"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture, arguments: list[str], message: str):
    refuse(arguments, capsys, message)


@pytest.mark.parametrize(
    "content", ["{", '{"model_type": "llama"}', '{"model_type": "gpt2", "n_head": 0}']
)
def test_bad_config(tmp_path: Path, capsys: pytest.CaptureFixture, content: str):
    path = tmp_path / "config.json"
    path.write_text(content)
    refuse(["--random-init", path, "--output-dir", tmp_path / "out"], capsys, str(path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_numbers(tmp_path: Path, capsys: pytest.CaptureFixture, bad: float):
    """Found while they are written: what was written by then is gone."""
    weights = checkpoints.weights(checkpoints.SMALL)
    weights["transformer.h.1.mlp.c_fc.weight"][3, 4] = bad
    directory = checkpoints.write(tmp_path / "checkpoint", checkpoints.SMALL, weights)
    output = tmp_path / "deep" / "out"
    refuse(
        ["--model", directory, "--output-dir", output],
        capsys,
        "tensor 'transformer.h.1.mlp.c_fc.weight' holds NaN or Inf",
    )
    assert not output.parent.exists()


def test_a_checkpoint_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture):
    checkpoints.write_random(tmp_path)
    before = snapshot(tmp_path)
    refuse(["--model", tmp_path, "--output-dir", tmp_path], capsys, "choose another --output-dir")
    assert snapshot(tmp_path) == before


def test_output_that_can_not_be_written(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "models"
    refuse(
        ["--model", small_checkpoint, "--output-dir", output],
        capsys,
        f"cannot write to {output}: Not a directory",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    tmp_path.chmod(0o500)
    refuse(
        ["--model", small_checkpoint, "--output-dir", tmp_path],
        capsys,
        f"cannot write to {tmp_path}: Permission denied",
    )


@pytest.mark.parametrize(
    ("option", "reason"), [([], "is the disk full?"), (["--single-file"], "File too large")]
)
def test_no_room_for_the_file(tmp_path: Path, option: list[str], reason: str):
    """A limit on the size of a file stands for the full disk: the system refuses to write."""
    (tmp_path / "config.json").write_text(json.dumps({**checkpoints.SMALL, "vocab_size": 90_000}))
    output = tmp_path / "models"
    result = subprocess.run(
        [sys.executable, SCRIPT, "--random-init", "config.json", "--output-dir", output, *option],
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: cannot write to {output}: ")
    assert result.stderr.endswith(f"{reason}\n")
    assert result.stderr.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    "module",
    [
        "numpy",  # an early one and a late one
        *(
            pytest.param(module, marks=pytest.mark.full)
            for module in ("onnx", "onnx_ir", "onnxruntime", "onnxscript", "safetensors")
        ),
        "xxhash",
    ],
)
def test_a_missing_module(module: str, tmp_path: Path):
    program = (
        f"import sys; sys.modules[{module!r}] = None;"
        "from kvcache_export.cli import main; sys.exit(main(['--random-init', 'gpt2']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr == (
        f"error: Python module {module!r} is missing;"
        " run: python -m pip install -r requirements.txt\n"
    )


def test_failed_verification_leaves_the_earlier_export(
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    arguments = ["--model", small_checkpoint, "--output-dir", tmp_path]
    assert main([str(argument) for argument in arguments]) == 0
    before = snapshot(tmp_path)
    monkeypatch.setitem(verify.TOLERANCE, "float32", 0.0)

    refuse(arguments, capsys, "cached and uncached logits differ by", "tolerance", code=1)

    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "error: interrupted\n"),
        (signal.SIGTERM, 143, "error: ended by SIGTERM\n"),
        pytest.param(*(signal.SIGHUP, 129, "error: ended by SIGHUP\n"), marks=pytest.mark.full),
    ],
)
def test_ended_by_a_signal(tmp_path: Path, number: signal.Signals, code: int, line: str):
    """While a tenth of a gigabyte is being written; nothing is left of it."""
    (tmp_path / "config.json").write_text(json.dumps({**checkpoints.SMALL, "n_embd": 1024}))
    output = tmp_path / "models"
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--random-init", tmp_path / "config.json", "--output-dir", output],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job inherits that Ctrl-C is ignored.
        preexec_fn=lambda: [  # noqa: PLW1509
            signal.signal(each, signal.SIG_DFL) for each in (number, signal.SIGINT)
        ],
    )
    deadline = time.monotonic() + 60
    while not list(output.glob(".export-*/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    process.send_signal(number)  # one more does not disturb the cleaning up
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert error == line
    assert not output.exists()


def test_a_signal_that_is_ignored_stays_ignored(small_checkpoint: Path, tmp_path: Path):
    """As nohup has it."""
    output = tmp_path / "models"
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--model", small_checkpoint, "--output-dir", output],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # noqa: PLW1509
    )
    assert process.stdout.readline().startswith("Loading")
    process.send_signal(signal.SIGHUP)
    assert "Model size" in process.communicate(timeout=60)[0]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("[1, ", "is not valid JSON"),
        ('{"ids": []}', "must hold a list of integers"),
        ("[1.5]", "must hold a list of integers"),
        ("[61]", "token 0 is 61, must be in [0, 61), the model's vocabulary"),
    ],
)
def test_bad_rounding_ids(
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    text: str | None,
    message: str,
):
    ids = tmp_path / "ids.json"
    if text is not None:
        ids.write_text(text)
    options = ["--model", str(small_checkpoint), "--output-dir", str(tmp_path / "out")]
    assert main([*options, "--weights", "float16", "--rounding-ids", str(ids)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --rounding-ids")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_weights_wider_than_the_model_are_refused(capsys: pytest.CaptureFixture):
    options = ["--random-init", "gpt2", "--dtype", "float16", "--weights", "bfloat16"]
    assert main(options) == 2
    assert "--weights bfloat16 with --dtype float16" in capsys.readouterr().err


@pytest.mark.parametrize("cache_dtype", ["float32", "int8"])
def test_a_cache_of_another_type_than_16_bits_is_refused(
    capsys: pytest.CaptureFixture, cache_dtype: str
):
    options = ["--random-init", "gpt2", "--dtype", "bfloat16", "--cache-dtype", cache_dtype]
    assert main(options) == 2
    message = f"--cache-dtype {cache_dtype} with --dtype bfloat16: keys and values of another type"
    assert message in capsys.readouterr().err


def test_rounding_ids_without_narrower_weights(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as end:
        main(["--random-init", "gpt2", "--rounding-ids", "ids.json"])
    assert end.value.code == 2
    assert "--rounding-ids has a meaning with --weights or --cache-dtype" in capsys.readouterr().err
