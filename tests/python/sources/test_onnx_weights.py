"""Which tensors a graph has is found by its nodes; what is not known is refused by its node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_goldens import changed, node_of, set_attribute, unpacked
from onnx import helper, numpy_helper

from kvcache_export import sources
from kvcache_export.errors import ExportError
from kvcache_export.sources.source import Source

Change = Callable[[onnx.ModelProto], None]


def check(directory: Path, export: str, change: Change) -> Source:
    source = sources.from_checkpoint(str(changed(unpacked(directory, export), change)))
    source.check()
    return source


def with_attribute(operator: str, name: str, value: object) -> Change:
    return lambda model: set_attribute(node_of(model, operator), name, value)


def with_operator(operator: str, to: str, domain: str = "") -> Change:
    def change(model: onnx.ModelProto) -> None:
        node = node_of(model, operator)
        node.op_type, node.domain = to, domain

    return change


def without_inputs(operator: str, left: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del node_of(model, operator).input[left:]

    return change


def with_shape(name: str, shape: tuple[int, ...]) -> Change:
    def change(model: onnx.ModelProto) -> None:
        stored = next(each for each in model.graph.initializer if each.name == name)
        stored.dims[:] = shape

    return change


def with_more(model: onnx.ModelProto) -> None:
    values = np.ones((4, 4), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(values, "model.extra.weight"))


def without_names(model: onnx.ModelProto) -> None:
    """A product of which neither the node's name nor the tensor's tells what it is."""
    node = next(each for each in model.graph.node if "/q_proj/MatMul" in each.name)
    node.name = "node_7"


def with_a_second_use(model: onnx.ModelProto) -> None:
    """Another tensor under the name of one that is known."""
    values = numpy_helper.from_array(np.ones((24, 32), np.float32), "else")
    model.graph.initializer.append(values)
    name = "/model/layers.0/self_attn/q_proj/MatMul_9"
    model.graph.node.append(helper.make_node("MatMul", ["x", "else"], ["y9"], name))


def with_a_cycle(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["b9"], ["a9"], "a"))
    model.graph.node.append(helper.make_node("Identity", ["a9"], ["b9"], "b"))
    model.graph.node.append(helper.make_node("MatMul", ["x", "a9"], ["y9"], "c"))


QKV = "model.layers.0.attn.qkv_proj.MatMul.weight"
INSTEAD = "export the checkpoint that it was made of instead: --model DIR with its safetensors"
PRODUCT = r"node '/model/layers.0/attn/qkv_proj/MatMul_Q4' \(MatMulNBits\): "

FAULTS = {
    "other operator": (
        "qwen2/genai-int4",
        with_operator("MatMulNBits", "QMoE", "com.microsoft"),
        r"\(QMoE\): operator QMoE is none that is read here; " + INSTEAD,
    ),
    "other quantisation": (
        "qwen2/optimum",
        with_operator("MatMul", "MatMulInteger"),
        r"\(MatMulInteger\): weights are read as they are or in blocks \(MatMulNBits\); " + INSTEAD,
    ),
    "bits": (
        "qwen2/genai-int4",
        with_attribute("MatMulNBits", "bits", 3),
        f"tensor '{QKV}_Q4' has 3 bits a value, expected 4 or 8",
    ),
    "no block size": (
        "qwen2/genai-int4",
        with_attribute("MatMulNBits", "block_size", 0),
        PRODUCT + "its block_size is 0",
    ),
    "huge K": (
        "qwen2/genai-int4",
        with_attribute("MatMulNBits", "K", 2**40),
        PRODUCT + f"its K is {2**40}",
    ),
    "K that is no whole number": (
        "qwen2/genai-int4",
        with_attribute("MatMulNBits", "K", 24.0),
        PRODUCT + "its K is 24.0",
    ),
    "K of other values": (
        "qwen2/genai-int4",
        with_attribute("MatMulNBits", "K", 96),
        rf"tensor '{QKV}_Q4' has shape \[64, 1, 16\], expected 3072 elements: of a matrix \[64, 9",
    ),
    "N of other parts": (
        "qwen2/genai-float32",
        with_shape(QKV, (32, 48)),
        rf"tensor '{QKV}' has 48 outputs, and those of q_proj, k_proj, v_proj are 32 \+ 16 \+ 16",
    ),
    "inputs in another order": (
        "qwen2/genai-int4",
        lambda model: node_of(model, "MatMulNBits").input.extend(["", "g_idx"]),
        PRODUCT + r"its inputs have an order of their own \(g_idx\)",
    ),
    "values that are computed": (
        "qwen2/genai-int4",
        lambda model: node_of(model, "MatMulNBits").input.__setitem__(1, "attention_mask"),
        PRODUCT + "its input 1, 'attention_mask', is no constant",
    ),
    "no inputs": (
        "qwen2/optimum",
        without_inputs("MatMul", 1),
        r"\(MatMul\): it has 1 inputs, expected two or more",
    ),
    "alpha": (
        "gpt2/optimum",
        with_attribute("Gemm", "alpha", 0.5),
        r"\(Gemm\): Gemm has alpha, beta or transA, which no family here has",
    ),
    "no name": (
        "qwen2/optimum",
        without_names,
        r"node 'node_7' \(MatMul\): neither its name nor 'onnx::MatMul_\d+' tells which matrix of a"
        " qwen2 it is",
    ),
    "two of a name": (
        "qwen2/optimum",
        with_a_second_use,
        r"'else' and 'onnx::MatMul_\d+' are both model.layers.0.self_attn.q_proj.weight",
    ),
    "cycle": ("qwen2/optimum", with_a_cycle, r"\(Identity\): it is computed of its own output"),
    "bias of a norm's sum": (
        "qwen2/genai-int4",
        lambda model: node_of(model, "SkipSimplifiedLayerNormalization").input.append("b"),
        r"\(SkipSimplifiedLayerNormalization\): it adds a bias to what it norms",
    ),
    "unused tensor": ("qwen2/genai-int4", with_more, "tensor 'model.extra.weight'"),
    "misshapen": (
        "qwen2/genai-float32",
        with_shape("model.embed_tokens.weight", (24, 37)),
        r"has shape \[24, 37\], expected \[37, 24\]",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_known_is_refused_by_its_node(fault: str, tmp_path: Path):
    export, change, message = FAULTS[fault]
    with pytest.raises(ExportError, match=message) as caught:
        check(tmp_path, export, change)
    assert str(tmp_path) in str(caught.value)


EXPORTS = [
    "gpt2/optimum",
    "qwen2/optimum",
    "qwen2/genai-float32",
    "qwen2/genai-int4",
    "qwen2/mobius",
]


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("seed", range(30))
def test_damaged_bytes_are_refused_or_read(export: str, seed: int, tmp_path: Path):
    """Whatever a file holds, the user reads one line, and numbers are of the shapes that count."""
    generator = np.random.default_rng(seed)
    config = seed % 3 > 0 or "genai" not in export
    path = unpacked(tmp_path, export, config=config) / "model.onnx"
    stored = bytearray(path.read_bytes())
    for place in generator.integers(0, len(stored), generator.choice([1, 3, 20])):
        stored[place] = generator.integers(256)
    path.write_bytes(stored[: generator.integers(1, len(stored)) if seed % 7 == 0 else None])
    try:
        source = sources.from_checkpoint(str(tmp_path))
        source.check()
        found = {name: source.read(name).shape for name in source.spec.parameters()}
    except ExportError as error:
        assert str(tmp_path) in str(error)
    else:
        assert found == dict(source.spec.parameters())


def merged(model: onnx.ModelProto) -> None:
    """As Optimum merges a decoder's two graphs: an If whose branches share what is outside."""
    nodes = list(model.graph.node)
    outputs = list(model.graph.output)
    branches = {
        "else_branch": helper.make_graph(nodes[:1], "without a past", [], []),
        "then_branch": helper.make_graph(nodes, "with a past", [], outputs),
    }
    names = [output.name for output in outputs]
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("If", ["use_cache_branch"], names, **branches))


def reversed_qkv(model: onnx.ModelProto) -> None:
    """A matrix that a node turns over on its way to the product."""
    node = next(each for each in model.graph.node if "/q_proj/MatMul" in each.name)
    stored = next(each for each in model.graph.initializer if each.name == node.input[1])
    values = numpy_helper.to_array(stored)
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.T), stored.name))
    model.graph.node.append(helper.make_node("Transpose", [stored.name], ["turned"], perm=[1, 0]))
    node.input[1] = "turned"


@pytest.mark.parametrize("change", [merged, reversed_qkv])
def test_the_same_tensors_are_found(change: Change, tmp_path: Path):
    known = check(tmp_path / "known", "qwen2/optimum", lambda _: None)
    found = check(tmp_path / "found", "qwen2/optimum", change)
    for parameter in known.spec.parameters():
        np.testing.assert_array_equal(found.read(parameter), known.read(parameter))
