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

ATTENTION = "GroupQueryAttention"
NORMS = {"SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"}
TABLES = (7, 8)  # GroupQueryAttention's inputs: cosines and sines of rotary positions
ADVICE = "put the config.json of the checkpoint beside it that it was made of"
CLOSE = 1e-5  # of cosines, as a share of the magnitude
POSITIONS = 64  # of the tables that are compared


def check(file: OnnxFile, spec: DecoderSpec) -> None:
    """Raises ExportError naming the first node that is not as the config has it."""
    found = [node for node in file.nodes if node.op_type == ATTENTION]
    if found and len(found) != len(spec.layers):
        raise ExportError(
            f"{file.path} has {len(found)} nodes {ATTENTION}, and the config"
            f" {len(spec.layers)} layers"
        )
    for node, layer in zip(found, spec.layers, strict=False):
        given = attributes(node)
        for name, is_, must in _attention(given, layer.attention):
            _agree(file, node, name, is_, must)
        if given.get("do_rotary", 0):
            _check_tables(file, node, layer.attention)
    _check_frequencies(file, spec)
    epsilons = {layer.norm.epsilon for layer in spec.layers} | {spec.final_norm.epsilon}
    for node in file.nodes:
        if node.op_type in NORMS and not re.search(r"[qk]_norm", node.name):
            given = float(attributes(node).get("epsilon", 1e-5))
            if not any(np.isclose(given, each, rtol=1e-5) for each in epsilons):
                _agree(file, node, "epsilon", given, sorted(epsilons)[0])


def _check_frequencies(file: OnnxFile, spec: DecoderSpec) -> None:
    """Of graphs that compute cosines as they run: what each pair turns by is a constant."""
    known = [each.attention.rotary for each in spec.layers if each.attention.rotary is not None]
    expected = [rotary.frequencies(each) for each in dict.fromkeys(known)]
    for node in file.nodes:
        if node.op_type != "Expand" or "/rotary_emb" not in node.name or node.input[0] not in file:
            continue
        found = file.read(node.input[0]).astype(np.float64).reshape(-1)
        if not any(
            len(found) == len(each) and np.allclose(found, each, rtol=CLOSE, atol=0)
            for each in expected
        ):
            raise file.refused(
                node.input[0], f"has not the rotary frequencies of the config; {ADVICE}"
            )


def _attention(given: dict[str, object], of: Attention) -> Iterator[tuple[str, float, float]]:
    """Each attribute's name, value, and the value that the config makes of it."""
    scale = float(given.get("scale", 0.0))
    yield "num_heads", given.get("num_heads", 0), of.num_heads
    yield "kv_num_heads", given.get("kv_num_heads", 0), of.num_kv_heads
    yield "scale", scale or of.head_dim**-0.5, of.scale
    yield "softcap", float(given.get("softcap", 0.0)), of.soft_cap or 0.0
    yield "local_window_size", given.get("local_window_size", -1), of.window or -1
    yield "rotary_interleaved", given.get("rotary_interleaved", 0), 0


def _agree(file: OnnxFile, node: NodeProto, name: str, given: float, must: float) -> None:
    if not np.isclose(given, must, rtol=1e-5):
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
            f" no rotary positions there ({file.path})"
        )
    if not all(name in file for name in names):
        return
    expected = rotary.tables(of.rotary, POSITIONS)
    for name, part in zip(names, ("cos", "sin"), strict=True):
        found = file.read(name).astype(np.float32)
        wide = found.ndim == 2 and found.shape[1] == expected[part].shape[1]
        found, must = found[:POSITIONS], expected[part][: len(found)]
        limit = CLOSE if file.dtype(name) == "F32" else 8e-3
        if not wide or np.abs(found - must).max(initial=0) > limit * max(1, np.abs(must).max()):
            raise file.refused(
                name,
                f"is not the table of rotary positions that the config makes; {ADVICE}",
            )
