"""Whenever an export is killed, its directory holds the old model or the new one, whole."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import toy_family
import xxhash
from exporter_processes import ExporterProcesses
from plain_ort import PlainModel

from kvcache_export.cli import ANY, main
from kvcache_export.runtime import session

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SCRIPT = ROOT / "export_gpt2_kvcache.py"
EXTERNAL = ["config.json", "gpt2_with_cache.onnx", "gpt2_with_cache.onnx.data"]
IDS = np.arange(10)[None]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def logits(model: Path) -> np.ndarray:
    return PlainModel(model).run(IDS)[0]


@functools.cache
def logits_of_models(old: Path, new: Path) -> dict[str, np.ndarray]:
    return {"old": logits(old), "new": logits(new)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, export) -> dict[str, Path]:
    """A checkpoint and its export, "new", and two exports of another one.

    Of one layer: each is loaded some hundred times.
    """
    checkpoint = {
        name: checkpoints.write_random(tmp_path_factory.mktemp(name), seed, n_layer=1)
        for seed, name in enumerate(("old", "new"))
    }
    return {
        "checkpoint": checkpoint["new"],
        "old": export("--model", checkpoint["old"]),
        "old single": export("--model", checkpoint["old"], "--single-file"),
        "new": export("--model", checkpoint["new"]),
    }


def held(directory: Path, models: dict[str, Path]) -> str | None:
    """Which model the directory holds, whole: as config.json says, and by the usual name."""
    if not (directory / "config.json").exists():
        assert not (directory / "gpt2_with_cache.onnx").exists()
        return None
    config = json.loads((directory / "config.json").read_text())
    for file in config["files"]:
        content = (directory / file["name"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["xxh3_128"] == xxhash.xxh3_128_hexdigest(content)
    found = which(logits(directory), models)
    graph = directory / "gpt2_with_cache.onnx"
    # A whole model too, for who does not read config.json.
    if graph.exists() and config["model_file"] != graph.name:
        plain = PlainModel(directory)
        plain.session = session(graph)
        which(plain.run(IDS)[0], models)
    return found


def which(found: np.ndarray, models: dict[str, Path]) -> str:
    known = logits_of_models(models["old"], models["new"])
    (name,) = (name for name, expected in known.items() if np.array_equal(found, expected))
    return name


@pytest.mark.parametrize(
    ("before", "options", "without_links"),
    [
        pytest.param(None, (), False, marks=pytest.mark.full),
        ("old", (), False),
        pytest.param("old", (), True, marks=pytest.mark.full),
        pytest.param("old", ("--single-file",), False, marks=pytest.mark.full),
        pytest.param("old single", (), False, marks=pytest.mark.full),
    ],
)
def test_killed_before_every_change(
    models: dict[str, Path], tmp_path: Path, before: str | None, options: tuple, without_links: bool
):
    """One export for each change that it makes to the directory, and the next one tidies up."""
    earlier = str(models[before]) if before else ""
    subprocess.run(
        [
            *(sys.executable, HERE / "kill_points.py", earlier, tmp_path),
            *("--model", models["checkpoint"], *options),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "python"),
            "WITHOUT_LINKS": "1" if without_links else "",
        },
        check=True,
    )
    changes = len(list(tmp_path.iterdir()))
    assert changes > 10
    order = []
    for change in range(changes):
        directory = tmp_path / str(change)
        order.append(held(directory, models) if directory.exists() else None)
    first_new = order.index("new")
    assert order == [before and "old"] * first_new + ["new"] * (changes - first_new)

    usual = EXTERNAL[:2] if options else EXTERNAL
    assert names(tmp_path / str(changes - 1)) == usual
    for change in (first_new - 1, first_new, changes - 2):
        directory = tmp_path / str(change)
        arguments = ["--model", str(models["checkpoint"]), "--output-dir", str(directory)]
        assert main([*arguments, *options]) == 0
        assert names(directory) == usual
        assert held(directory, models) == "new"


def killed_at_random(models: dict[str, Path], directory: Path, count: int, seed: int) -> None:
    """Exports over an old model, each killed at a random moment of the time that one takes."""
    print(f"seed {seed}")
    moment = random.Random(seed)
    arguments = [sys.executable, SCRIPT, "--model", models["checkpoint"], "--output-dir"]
    start = time.monotonic()
    subprocess.run([*arguments, directory / "whole"], stdout=subprocess.DEVNULL, check=True)
    duration = time.monotonic() - start
    ends = {"old": 0, "new": 0}
    output = directory / "output"
    for _ in range(count):
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(models["old"], output)
        process = subprocess.Popen([*arguments, output], stdout=subprocess.DEVNULL)
        # Publishing is at the end of it.
        time.sleep(duration * moment.uniform(*moment.choice([(0, 1.2), (0.7, 1.1)])))
        process.send_signal(signal.SIGKILL)
        process.wait()
        ends[held(output, models)] += 1
        assert main([str(argument) for argument in [*arguments[2:], output]]) == 0
        assert names(output) == EXTERNAL
    print(ends)


def test_killed_at_random_moments(models: dict[str, Path], tmp_path: Path):
    killed_at_random(models, tmp_path, 2, random.randrange(2**32))


@pytest.mark.full
def test_killed_at_two_hundred_random_moments(models: dict[str, Path], tmp_path: Path):
    killed_at_random(models, tmp_path, 200, random.randrange(2**32))


def test_a_disk_that_fails_in_the_middle_leaves_the_new_model(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    output = shutil.copytree(models["old"], tmp_path / "output")
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if target == output / "gpt2_with_cache.onnx.data":
            raise OSError(5, "Input/output error")
        return replace(path, target)

    arguments = ["--model", str(models["checkpoint"]), "--output-dir", str(output)]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error == (
        f"error: {output} holds the new model, but its files could not get their usual names"
        " (Input/output error); export again\n"
    )
    assert held(output, models) == "new"
    assert main(arguments) == 0
    assert names(output) == EXTERNAL
    assert held(output, models) == "new"


def test_two_exports_at_once_do_not_mix(
    models: dict[str, Path], tmp_path: Path, exporter_processes: ExporterProcesses
):
    """Of many that start together, some are refused, and what is left is one of them."""
    output = tmp_path / "output"
    export = ["--output-dir", output, "--model", models["checkpoint"]]
    for process in exporter_processes.run_together([export] * 4):
        refused = process.stderr.startswith(
            f"error: another export is writing to {output}; wait until"
        )
        assert (process.returncode, process.stderr) == (0, "") or (
            process.returncode == 2 and refused
        )
    assert names(output) == EXTERNAL
    assert held(output, models) == "new"


def test_a_model_of_another_family_leaves_none_of_the_files_of_the_one_before(
    models: dict[str, Path], tmp_path: Path
):
    output = shutil.copytree(models["old"], tmp_path / "output")
    (output / "mine.onnx").write_text("")
    (tmp_path / "toy.json").write_text(json.dumps(toy_family.SMALL))
    arguments = ["--random-init", str(tmp_path / "toy.json"), "--output-dir", str(output)]
    assert main(arguments, ANY) == 0
    of_toy = ["toy_with_cache.onnx", "toy_with_cache.onnx.data"]
    assert names(output) == ["config.json", "mine.onnx", *of_toy]
    assert main(["--model", str(models["checkpoint"]), "--output-dir", str(output)]) == 0
    assert names(output) == sorted([*EXTERNAL, "mine.onnx"])
    assert held(output, models) == "new"


@pytest.mark.parametrize(
    "name", ["../outside.onnx", "notes.txt", "config.json", "a\0.onnx", "folder.onnx", 5, []]
)
def test_a_config_that_names_other_files_than_a_model_has_deletes_none(
    models: dict[str, Path], tmp_path: Path, name: object
):
    output = tmp_path / "output"
    (output / "folder.onnx").mkdir(parents=True)
    for kept in (tmp_path / "outside.onnx", output / "notes.txt"):
        kept.write_text("")
    config = {"format": "kvcache", "model_file": "x.onnx", "files": [{"name": name}]}
    (output / "config.json").write_text(json.dumps(config))
    assert main(["--model", str(models["checkpoint"]), "--output-dir", str(output)]) == 0
    assert names(output) == sorted([*EXTERNAL, "folder.onnx", "notes.txt"])
    assert (tmp_path / "outside.onnx").exists()
