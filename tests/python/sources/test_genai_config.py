"""What onnxruntime-genai's config and its graph tell of a model without a config.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_goldens import changed, node_of, set_attribute, unpacked
from onnx import numpy_helper

from kvcache_export import sources
from kvcache_export.errors import ExportError

EXPORT = "qwen2/genai-float32"
ADVICE = "put the config.json of the checkpoint beside it that it was made of"


@pytest.mark.parametrize("export", [EXPORT, "qwen2/genai-int4", "qwen2/genai-int8"])
def test_it_is_what_the_config_says(export: str, tmp_path: Path):
    known = sources.from_checkpoint(str(unpacked(tmp_path / "1", export)))
    found = sources.from_checkpoint(str(unpacked(tmp_path / "2", export, config=False)))
    assert found.spec == known.spec
    assert found.config.bos_token_id == known.config.bos_token_id
    assert found.config.eos_token_ids == known.config.eos_token_ids
    for parameter in known.spec.parameters():
        np.testing.assert_array_equal(found.read(parameter), known.read(parameter))


def without(*names: str) -> Callable[[dict], None]:
    """A field's removal, by its place in the config."""

    def change(config: dict) -> None:
        *path, last = names
        for name in path:
            config = config[name]
        del config[last]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model"), "model must be an object, not None"),
        (without("model", "decoder"), "model.decoder must be an object, not None"),
        (lambda config: config["model"].update(type="gemma"), "model.type is 'gemma', of which it"),
        (lambda config: config["model"].update(type=["a"]), r"model.type is \['a'\], of which it"),
        (without("model", "vocab_size"), f"does not say vocab_size; {ADVICE}"),
        (without("model", "decoder", "head_size"), f"does not say head_dim; {ADVICE}"),
        (without("model", "decoder", "num_hidden_layers"), "does not say num_hidden_layers; put"),
        (
            lambda config: config["model"]["decoder"].update(head_size=-16),
            "head_dim must be a positive integer",
        ),
        (
            lambda config: config["model"]["decoder"].update(hidden_size="24"),
            "hidden_size must be a positive integer",
        ),
    ],
)
def test_what_it_does_not_say_is_named(
    change: Callable[[dict], None], message: str, tmp_path: Path
):
    directory = unpacked(tmp_path, EXPORT, config=False)
    path = directory / "genai_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ExportError, match=message) as caught:
        sources.from_checkpoint(str(directory))
    assert str(directory) in str(caught.value)


def without_operator(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.op_type = node.op_type.replace("GroupQueryAttention", "Attention")


def without_gates(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = node.name.replace("gate_proj", "other")


def with_tables(values: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for stored in model.graph.initializer:
            if stored.name in ("cos_cache", "sin_cache"):
                stored.CopyFrom(numpy_helper.from_array(values, stored.name))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_operator, f"the graph has no node GroupQueryAttention; {ADVICE}"),
        (without_gates, f"no product of the graph is called /mlp/gate_proj/; {ADVICE}"),
        (
            lambda model: node_of(model, "GroupQueryAttention").input.__setitem__(7, "computed"),
            f"has no tables of rotary positions that are constants; {ADVICE}",
        ),
        (with_tables(np.ones(7, np.float32)), r"has shape \[7\], and is a table of angles"),
        (with_tables(np.zeros((1, 8), np.float32)), r"has shape \[1, 8\], and is a table"),
        (with_tables(np.zeros((4, 8), np.float32)), "has no rotary frequencies that are known"),
    ],
)
def test_what_the_graph_does_not_tell_is_named(
    change: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path
):
    directory = changed(unpacked(tmp_path, EXPORT, config=False), change)
    with pytest.raises(ExportError, match=message):
        sources.from_checkpoint(str(directory))


@pytest.mark.parametrize("windows", [(9, 9), (-1, 9)])
def test_windows_of_the_graph_are_the_models(windows: tuple[int, ...], tmp_path: Path):
    def change(model: onnx.ModelProto) -> None:
        found = [node for node in model.graph.node if node.op_type == "GroupQueryAttention"]
        for node, window in zip(found, windows, strict=True):
            set_attribute(node, "local_window_size", window)

    directory = changed(unpacked(tmp_path, EXPORT, config=False), change)
    found = sources.from_checkpoint(str(directory))
    assert [layer.attention.window or -1 for layer in found.spec.layers] == list(windows)


def test_a_mistral_without_a_window_has_none(tmp_path: Path):
    """Its config's default would be one."""

    def change(model: onnx.ModelProto) -> None:  # a Mistral's graph has no biases
        for node in model.graph.node:
            node.name = node.name.replace("_proj/Add", "_proj/Sum")

    directory = changed(unpacked(tmp_path, EXPORT, config=False), change)
    path = directory / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["type"] = "mistral"
    path.write_text(json.dumps(config))
    found = sources.from_checkpoint(str(directory))
    assert [layer.attention.window for layer in found.spec.layers] == [None, None]
