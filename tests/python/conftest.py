"""What the tests share: a way to run an export in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime

import checkpoints
import pytest
from exporter_processes import ExporterProcesses
from plain_ort import PlainModel

from kvcache_export.cli import ANY, main


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """export("--model", DIR, …) → the directory of the exported model."""

    def run(*arguments: object) -> Path:
        output = tmp_path_factory.mktemp("model")
        assert main([*map(str, arguments), "--output-dir", str(output)], ANY) == 0
        return output

    return run


@pytest.fixture(scope="session")
def exporter_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExporterProcesses]:
    processes = ExporterProcesses(tmp_path_factory.mktemp("printed"))
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write_random(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def small_model_dir(export: Callable[..., Path], small_checkpoint: Path) -> Path:
    return export("--model", small_checkpoint)


@pytest.fixture(scope="session")
def small_model(small_model_dir: Path) -> PlainModel:
    return PlainModel(small_model_dir)
