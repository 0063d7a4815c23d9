"""Modules of a family's checkpoints, as exporters of ONNX spell them and as they fuse them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..family import Config, Family
from ..spec import Layout
from .onnx_operands import Joined, Operand, Piece

# What may be one matrix in a checkpoint and several in a graph, or the other way round.
FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}

# What onnxruntime-genai's model builder calls otherwise than Hugging Face.
RENAMED = (
    (re.compile(r"^model\.layers\.(\d+)\.attn\."), r"model.layers.\1.self_attn."),
    (re.compile(r"^model\.layers\.\d+\.final_norm_layernorm$"), "model.norm"),
)
# What stands behind a module's name in that of a tensor.
SUFFIX = re.compile(
    r"(\.(MatMul|MatMulNBits|MatMul_Q4|MatMul_Q8|Add|layernorm))?"
    r"\.(weight|bias|qweight|scales|zero_points)(_Q4|_Q8|_scales|_zp)?(_T|_t)?$"
)


class Modules:
    """Those that a model of this family and config has, and what they may be fused to or split."""

    def __init__(self, family: Family, config: Config):
        self._spec = config.spec
        matrices = config.spec.matrices()
        roles = {parameter.rpartition(".")[0] for parameter in config.spec.parameters()}
        self._own: dict[str, bool] = {}  # to whether it is a matrix that is multiplied by
        for role in [*roles, "head"]:
            matrix = matrices.get(role)
            multiplied = matrix is not None and matrix.layout is not Layout.ROWS
            self._own.update(dict.fromkeys(family.names(role), multiplied))
        self._known = set(self._own)
        for module in self._own:
            parent, _, name = module.rpartition(".")
            for fused, parts in FUSED.items():
                if name == fused or name in parts:
                    self._known.update(f"{parent}.{each}" for each in (fused, *parts))

    def by_inputs(self, module: str) -> bool:
        """Whether a family that has matrices [inputs, outputs] has this one so."""
        return self._own.get(module, False)

    def find(self, node: str, tensor: str) -> str | None:
        """The module that a node's or a tensor's name tells, by the family's name of it."""
        by_node = node.strip("/").rpartition("/")[0].replace("/", ".")
        for name in (by_node, SUFFIX.sub("", tensor)):
            for spelt in _spellings(name):
                if spelt in self._known:
                    return spelt
        return None

    def fitted(self, found: Mapping[str, Operand]) -> dict[str, Operand | Piece | Joined]:
        """Tensors by the family's names: split where its checkpoints have them apart, and joined.

        Raises ExportError where a fused matrix has other sizes than its parts.
        """
        split: dict[str, Operand | Piece | Joined] = {}
        for key, operand in found.items():
            split.update(self._split(key, operand))
        for key in list(split):
            parent, name, kind = _parts(key)
            for fused, parts in FUSED.items():
                names = [f"{parent}.{part}.{kind}" for part in parts]
                joined = name == parts[0] and f"{parent}.{fused}" in self._own
                if joined and all(each in split for each in names):
                    split[f"{parent}.{fused}.{kind}"] = Joined(
                        tuple(split.pop(each) for each in names)
                    )
        return split

    def _split(self, key: str, operand: Operand) -> Iterator[tuple[str, Operand | Piece]]:
        parent, name, kind = _parts(key)
        if name not in FUSED or f"{parent}.{name}" in self._own:
            yield key, operand
            return
        sizes, first = self._sizes(parent, name), 0
        if sum(sizes) != operand.shape[0]:
            raise operand.file.refused(
                operand.name,
                f"has {operand.shape[0]} outputs, and those of {', '.join(FUSED[name])} are"
                f" {' + '.join(map(str, sizes))} by the config",
            )
        for part, size in zip(FUSED[name], sizes, strict=True):
            yield f"{parent}.{part}.{kind}", Piece(operand, first, size)
            first += size

    def _sizes(self, parent: str, name: str) -> tuple[int, ...]:
        layer = self._spec.layers[int(re.findall(r"\d+", parent)[0])]
        of = layer.attention
        if name == "gate_up_proj":
            return (layer.mlp.inner_size,) * 2
        return tuple(n * of.head_dim for n in (of.num_heads, of.num_kv_heads, of.num_kv_heads))


def _parts(key: str) -> tuple[str, str, str]:
    """A layer's part, the module in it and the kind of tensor."""
    module, _, kind = key.rpartition(".")
    parent, _, name = module.rpartition(".")
    return parent, name, kind


def _spellings(name: str) -> Iterator[str]:
    """Hugging Face's name, where a model within a model, too, has `model.` before it."""
    while name:
        yield name
        for pattern, put in RENAMED:
            if (renamed := pattern.sub(put, name)) != name:
                yield renamed
        if not name.startswith("model.model."):
            return
        name = name.removeprefix("model.")
