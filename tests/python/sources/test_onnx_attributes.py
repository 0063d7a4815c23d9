"""Nodes that are not as the config has them are refused by their names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_goldens import changed, node_of, set_attribute, unpacked
from onnx import numpy_helper

from kvcache_export import sources
from kvcache_export.errors import ExportError

ATTENTION = r"node '/model/layers.0/attn/GroupQueryAttention' \(GroupQueryAttention\) has "


@pytest.mark.parametrize(
    ("operator", "name", "value", "message"),
    [
        ("GroupQueryAttention", "num_heads", 4, "num_heads 4, and the config makes it 2"),
        ("GroupQueryAttention", "kv_num_heads", 2, "kv_num_heads 2, and the config makes it 1"),
        ("GroupQueryAttention", "scale", 0.5, "scale 0.5, and the config makes it 0.25"),
        ("GroupQueryAttention", "softcap", 30.0, "softcap 30.0, and the config makes it 0"),
        ("GroupQueryAttention", "local_window_size", 8, "local_window_size 8, and the config m"),
        ("GroupQueryAttention", "rotary_interleaved", 1, "rotary_interleaved 1, and the config"),
        ("GroupQueryAttention", "smooth_softmax", 1, "smooth_softmax 1, and the config makes it 0"),
    ],
)
def test_attention_is_the_configs(
    operator: str, name: str, value: float, message: str, tmp_path: Path
):
    directory = changed(
        unpacked(tmp_path, "qwen2/genai-float32"),
        lambda model: set_attribute(node_of(model, operator), name, value),
    )
    with pytest.raises(ExportError, match=ATTENTION + message) as caught:
        sources.from_checkpoint(str(directory))
    assert "put the config.json of the checkpoint beside it" in str(caught.value)


@pytest.mark.parametrize(
    ("export", "operator"),
    [
        ("qwen2/genai-int4", "SkipSimplifiedLayerNormalization"),
        ("gpt2/optimum", "LayerNormalization"),
    ],
)
def test_epsilons_are_the_configs(export: str, operator: str, tmp_path: Path):
    directory = changed(
        unpacked(tmp_path, export),
        lambda model: set_attribute(node_of(model, operator), "epsilon", 1e-3),
    )
    message = (
        rf"\({operator}\) has epsilon 0.001\d*, and the config makes it 1e-0[56]; put the conf"
    )
    with pytest.raises(ExportError, match=message):
        sources.from_checkpoint(str(directory))


@pytest.mark.parametrize(
    ("export", "message"),
    [
        ("genai-float32", "'cos_cache' is not the table of rotary positions that the config makes"),
        ("mobius", "cos_cache' is not the table of rotary positions that the config makes"),
        ("optimum", "has not the rotary frequencies of the config; put the config.json of"),
    ],
)
def test_rotary_positions_are_the_configs(export: str, message: str, tmp_path: Path):
    directory = unpacked(tmp_path, f"qwen2/{export}")
    config = json.loads((directory / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 9000.0
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=message):
        sources.from_checkpoint(str(directory))


@pytest.mark.parametrize("shape", [(), (0, 8), (64,), (64, 4)])
def test_tables_of_other_shapes_are_refused(shape: tuple[int, ...], tmp_path: Path):
    def change(model: onnx.ModelProto) -> None:
        stored = next(each for each in model.graph.initializer if each.name == "cos_cache")
        stored.CopyFrom(numpy_helper.from_array(np.ones(shape, np.float32), "cos_cache"))

    directory = changed(unpacked(tmp_path, "qwen2/genai-float32"), change)
    with pytest.raises(
        ExportError, match="tensor 'cos_cache' is not the table of rotary positions"
    ):
        sources.from_checkpoint(str(directory))


def test_layers_are_the_configs(tmp_path: Path):
    directory = unpacked(tmp_path, "qwen2/genai-float32")
    config = json.loads((directory / "config.json").read_text()) | {"num_hidden_layers": 3}
    config.pop("layer_types", None)
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ExportError, match="has 2 nodes GroupQueryAttention, and the config 3 layers"
    ):
        sources.from_checkpoint(str(directory))


def test_a_soft_cap_that_a_graph_leaves_out_is_told(tmp_path: Path):
    """Optimum's Gemma 2, whose attention torch computes without it."""
    from kvcache_export.sources import onnx_attributes
    from kvcache_export.sources.onnx_file import OnnxFile

    families = Path(__file__).parents[2] / "goldens" / "families"
    spec = sources.from_checkpoint(str(families / "gemma2")).spec
    plain = OnnxFile(unpacked(tmp_path, "qwen2/optimum") / "model.onnx")
    (note,) = onnx_attributes.notes(plain, spec)
    assert note.startswith("the graph leaves out the soft cap of attention scores")
    known = sources.from_checkpoint(str(tmp_path))
    assert known.notes == ()
