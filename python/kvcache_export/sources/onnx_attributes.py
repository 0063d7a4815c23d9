"""What a graph's nodes say of themselves, held against what a config says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from ..errors import ExportError
from ..json_file import shown
from ..nodes import rotary
from ..spec import Attention, DecoderSpec
from .onnx_file import OnnxFile, attributes

# Attention as one node, to its attributes of heads of queries and of keys.
ATTENTIONS = {
    "GroupQueryAttention": ("num_heads", "kv_num_heads"),
    "MultiHeadAttention": ("num_heads",),
    "Attention": ("q_num_heads", "kv_num_heads"),
}
NORMS = {
    *("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"),
    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
}
EPSILON = 1e-5  # where a norm has none
TABLES = (7, 8)  # GroupQueryAttention's inputs: cosines and sines of rotary positions
ADVICE = "put the config.json of the checkpoint beside it that it was made of"
CLOSE = 1e-5  # of cosines, as a share of the magnitude
CLOSE_IN_HALF = 8e-3  # the same of tables in 16 bits
POSITIONS = 64  # of the tables that are compared


def check(file: OnnxFile, spec: DecoderSpec) -> None:
    """Raises ExportError naming the first node that is not as the config has it."""
    found = [node for node in file.nodes if node.op_type in ATTENTIONS]
    if found and len(found) != len(spec.layers):
        raise ExportError(
            f"{file.path} has {len(found)} nodes {found[0].op_type}, and the config"
            f" {len(spec.layers)} layers; {ADVICE}"
        )
    for node, layer in zip(found, spec.layers, strict=False):
        for name, given, must in _attention(node, layer.attention):
            _agree(file, node, name, given, must)
        if attributes(node).get("do_rotary", 0):
            _check_tables(file, node, layer.attention)
    _check_frequencies(file, spec)
    _check_epsilons(file, spec)


def notes(file: OnnxFile, spec: DecoderSpec) -> list[str]:
    """Where a graph is known to compute something else than its config says, for the user."""
    capped = any(layer.attention.soft_cap for layer in spec.layers)
    names = [node.name for node in file.nodes if node.op_type == "Tanh"]
    fused = any(node.op_type in ATTENTIONS for node in file.nodes)
    if capped and not fused and not any("attn" in name for name in names):
        return [
            "the graph leaves out the soft cap of attention scores, which the config has; the"
            " export has it, so its logits are Hugging Face's and not quite the graph's"
        ]
    return []


def _check_epsilons(file: OnnxFile, spec: DecoderSpec) -> None:
    """Those of norms of a whole row; those of queries and keys have the same in every family."""
    epsilons = {layer.norm.epsilon for layer in spec.layers} | {spec.final_norm.epsilon}
    for node in file.nodes:
        if node.op_type in NORMS and not re.search(r"[qk]_norm", node.name):
            given = attributes(node).get("epsilon", EPSILON)
            if not any(np.isclose(given, each, rtol=CLOSE, atol=0) for each in epsilons):
                _agree(file, node, "epsilon", given, min(epsilons))


def _check_frequencies(file: OnnxFile, spec: DecoderSpec) -> None:
    """Of graphs that compute cosines as they run: what each pair turns by is a constant."""
    known = [each.attention.rotary for each in spec.layers if each.attention.rotary is not None]
    expected = [rotary.frequencies(each) for each in dict.fromkeys(known)]
    for node in file.nodes:
        if node.op_type != "Expand" or "/rotary_emb" not in node.name:
            continue
        for name in node.input[:1]:
            if name in file and not _is_one_of(file.read(name).reshape(-1), expected):
                raise file.refused(name, f"has not the rotary frequencies of the config; {ADVICE}")


def _is_one_of(found: np.ndarray, expected: list[np.ndarray]) -> bool:
    return any(
        len(found) == len(each) and np.allclose(found.astype(np.float64), each, rtol=CLOSE, atol=0)
        for each in expected
    )


def _attention(node: NodeProto, of: Attention) -> Iterator[tuple[str, float, float]]:
    """Each attribute's name, value, and the value that the config makes of it."""
    given = attributes(node)
    counts = (of.num_heads, of.num_kv_heads)
    for name, count in zip(ATTENTIONS[node.op_type], counts, strict=False):
        yield name, given.get(name, 0), count
    yield "scale", given.get("scale", 0) or of.head_dim**-0.5, of.scale
    if node.op_type == "MultiHeadAttention":
        return
    yield "softcap", given.get("softcap", 0), of.soft_cap or 0
    if node.op_type == "GroupQueryAttention":
        yield "local_window_size", given.get("local_window_size", -1), of.window or -1
        yield "rotary_interleaved", given.get("rotary_interleaved", 0), 0
        yield "smooth_softmax", max(given.get("smooth_softmax", 0), 0), 0  # -1 is none, too


def _agree(file: OnnxFile, node: NodeProto, name: str, given: float, must: float) -> None:
    if not np.isclose(given, must, rtol=CLOSE, atol=0):
        raise ExportError(
            f"node {shown(node.name)} ({node.op_type}) has {name} {given}, and the config makes it"
            f" {must}; {ADVICE} ({file.path})"
        )


def _check_tables(file: OnnxFile, node: NodeProto, of: Attention) -> None:
    """Tables that are the file's own; some graphs choose between two as they run."""
    names = [node.input[place] if place < len(node.input) else "" for place in TABLES]
    if of.rotary is None:
        raise ExportError(
            f"node {shown(node.name)} ({node.op_type}) turns queries and keys, and the config has"
            f" no rotary positions there; {ADVICE} ({file.path})"
        )
    if not all(name in file for name in names):
        return
    expected = rotary.tables(of.rotary, POSITIONS)
    for name, part in zip(names, ("cos", "sin"), strict=True):
        if not _is_table(file, name, expected[part]):
            raise file.refused(
                name, f"is not the table of rotary positions that the config makes; {ADVICE}"
            )


def _is_table(file: OnnxFile, name: str, expected: np.ndarray) -> bool:
    """Whether the first positions of a tensor are as expected."""
    shape = file.shape(name)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != expected.shape[1]:
        return False
    found = file.read(name)[:POSITIONS].astype(np.float32)
    limit = CLOSE if file.dtype(name) == "F32" else CLOSE_IN_HALF
    expected = expected[: len(found)]
    return bool((np.abs(found - expected) <= limit * max(1, np.abs(expected).max())).all())
