"""Which file of a directory is the graph, and what stands for its config."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from export_goldens import EXPORTS, unpacked

from kvcache_export import sources
from kvcache_export.errors import ExportError
from kvcache_export.sources.onnx_directory import GRAPHS, graph_of


def test_a_file_is_named_or_its_directory(tmp_path: Path):
    directory = unpacked(tmp_path / "onnx", "qwen2/optimum", config=False)
    shutil.copy(EXPORTS / "qwen2" / "config.json", tmp_path)  # as of a model of the hub
    for model in (directory / "model.onnx", directory, tmp_path):
        sources.from_checkpoint(str(model)).check()


def test_graphs_over_a_cache_come_first(tmp_path: Path):
    assert graph_of(tmp_path) is None
    (tmp_path / "onnx").mkdir()
    for name in reversed(GRAPHS):
        (tmp_path / name).touch()
        assert graph_of(tmp_path) == tmp_path / name


def test_one_file_of_any_name_is_it_and_of_several_one_is_to_be_named(tmp_path: Path):
    (tmp_path / "a.onnx").touch()
    assert graph_of(tmp_path) == tmp_path / "a.onnx"
    (tmp_path / "b.onnx").touch()
    message = r"has 2 ONNX files \(a.onnx, b.onnx\); name one: --model FILE.onnx"
    with pytest.raises(ExportError, match=message):
        sources.from_checkpoint(str(tmp_path))


def test_safetensors_come_before_a_graph(tmp_path: Path):
    """As of a model of the hub that has both."""
    golden = EXPORTS.parent / "families" / "llama"
    for name in ("config.json", "model.safetensors"):
        shutil.copy(golden / name, tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"broken")
    sources.from_checkpoint(str(tmp_path)).check()


def test_without_any_config_the_advice_is_to_put_one_there(tmp_path: Path):
    directory = unpacked(tmp_path, "qwen2/optimum", config=False)
    message = (
        r"no config.json beside .*model.onnx: .*; put that of the checkpoint there that it was"
    )
    with pytest.raises(ExportError, match=message):
        sources.from_checkpoint(str(directory))


def test_an_export_of_ours_is_refused(tmp_path: Path):
    directory = unpacked(tmp_path, "qwen2/optimum")
    (directory / "config.json").write_text(json.dumps({"format": "kvcache"}))
    with pytest.raises(
        ExportError, match="is a model of this exporter's already; export the check"
    ):
        sources.from_checkpoint(str(directory))


def test_a_config_of_no_known_family_is_refused_with_its_file(tmp_path: Path):
    directory = unpacked(tmp_path, "qwen2/optimum")
    (directory / "config.json").write_text(json.dumps({"model_type": "opt"}))
    with pytest.raises(ExportError, match=r"model.onnx, by its config: .*opt.*qwen2"):
        sources.from_checkpoint(str(directory))
