"""Which tensors of a checkpoint an ONNX graph of somebody else's holds, and where.

A tensor is found by the node that uses it. The node's name tells the module
(`/model/layers.0/attn/q_proj/MatMul`), for exporters name products' weights `onnx::MatMul_123` and
give two equal tensors one name; where the node has none, the tensor's name does. What kind of
tensor it is and how it lies, the operator says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import numpy as np
from onnx import NodeProto

from ..errors import ExportError
from ..family import Config, Family
from ..json_file import shown
from ..precision import MatrixType
from ..spec import Shape
from .onnx_file import OnnxFile, attributes, turns_over
from .onnx_modules import Modules
from .onnx_operands import Blocks, Dense, Operand

ROTARY = re.compile(r"/rotary_emb[^/]*/")
PASSED_THROUGH = {"Cast", "Identity", "Reshape"}  # on a weight's way to its node

ADVICE = "export the checkpoint that it was made of instead: --model DIR with its safetensors"


class OnnxTensors:
    """A checkpoint's tensors, by its names; those that no node uses as a known one by their own."""

    def __init__(self, file: OnnxFile, family: Family, config: Config):
        """Raises ExportError naming a node that does something that no family here does."""
        self._file, self._family = file, family
        self._modules = Modules(family, config)
        self._makers = {output: node for node in file.nodes for output in node.output}
        self._used: set[str] = set()
        self._of_angles = _only_for_angles(file)
        self._uses: dict[str, Operand] = {}
        for node in file.nodes:
            self._read(node)
        self._found = self._modules.fitted(self._uses)
        for name in file:
            if name not in self._used and self._matters(name):
                self._found[name] = Dense(file, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def dtype(self, key: str) -> str:
        return self._found[key].dtype

    def shape(self, key: str) -> Shape:
        shape = self._found[key].shape
        return shape[::-1] if self._inputs_first(key) else shape

    def read(self, key: str) -> np.ndarray:
        values = self._found[key].read()
        return values.T if self._inputs_first(key) else values

    def block_scales(self, key: str, type_: MatrixType) -> np.ndarray | None:
        return self._found[key].block_scales(type_)

    def _inputs_first(self, key: str) -> bool:
        """Whether the family's checkpoints have it the other way round than it is found."""
        if not self._family.inputs_first:
            return False
        module, _, kind = key.rpartition(".")
        return kind == "weight" and self._modules.by_inputs(module)

    def _read(self, node: NodeProto) -> None:
        reader = READERS.get(node.op_type)
        if reader is not None:
            if len(node.input) < 2:
                raise self._refused(node, f"it has {len(node.input)} inputs, expected two or more")
            reader(self, node)
        elif node.op_type in OTHERWISE_QUANTIZED:
            raise self._refused(node, "weights are read as they are or in blocks (MatMulNBits)")
        elif node.domain and node.op_type not in WITHOUT_WEIGHTS:
            raise self._refused(node, f"operator {node.op_type} is none that is read here")

    # What operators say of the tensors that they take.

    def _product(self, node: NodeProto) -> None:
        """MatMul by a constant matrix, as it is or turned over by a node."""
        if (found := self._constant(node.input[1])) is not None:
            name, turned = found
            if len(self._file.shape(name)) == 2:
                self._put(node, "weight", Dense(self._file, name, by_inputs=not turned))

    def _affine(self, node: NodeProto) -> None:
        of = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | attributes(node)
        if (found := self._constant(node.input[1])) is None:
            return
        if (of["alpha"], of["beta"], of["transA"]) != (1, 1, 0):
            raise self._refused(node, "Gemm has alpha, beta or transA, which no family here has")
        name, turned = found
        self._put(node, "weight", Dense(self._file, name, by_inputs=bool(of["transB"]) == turned))
        self._vector(node, 2, "bias")

    def _quantized(self, node: NodeProto) -> None:
        of = {"bits": 4} | attributes(node)
        self._check_sizes(node, of, "K", "N", "bits", "block_size")
        if len(node.input) > 4 and node.input[4]:
            raise self._refused(node, "its inputs have an order of their own (g_idx)")
        shape = (of["N"], of["K"])
        self._put(node, "weight", self._blocks(node, 1, 2, 3, shape, of["bits"], of["block_size"]))
        self._vector(node, 5, "bias")

    def _lookup(self, node: NodeProto) -> None:
        found = self._constant(node.input[0])
        if found is None or len(self._file.shape(found[0])) != 2 or ROTARY.search(node.name):
            return
        if not self._file.is_float(found[0]):
            return
        self._put(node, "weight", Dense(self._file, found[0], by_inputs=found[1]))

    def _quantized_lookup(self, node: NodeProto) -> None:
        of = {"bits": 4, "gather_axis": 0, "quantize_axis": 1} | attributes(node)
        self._check_sizes(node, of, "bits", "block_size")
        name = self._name_of_constant(node, 0)
        scales = self._file.shape(self._name_of_constant(node, 2))
        if of["gather_axis"] != 0 or of["quantize_axis"] != 1 or len(scales) < 2:
            raise self._refused(node, "it takes no rows of a table that is quantised along them")
        stored = self._file.shape(name)
        inputs = math.prod(stored[1:]) * 8 // of["bits"]
        shape = (stored[0], inputs)
        self._put(node, "weight", self._blocks(node, 0, 2, 3, shape, of["bits"], of["block_size"]))

    def _norm(self, node: NodeProto, first: int = 1) -> None:
        self._vector(node, first, "weight", norm=True)
        self._vector(node, first + 1, "bias")

    def _skip_norm(self, node: NodeProto) -> None:
        self._norm(node, 2)
        last = 3 if node.op_type == "SkipSimplifiedLayerNormalization" else 4
        if len(node.input) > last and node.input[last]:
            raise self._refused(node, "it adds a bias to what it norms")

    def _multiplied(self, node: NodeProto) -> None:
        """A norm of simple operators ends with the product by its weight."""
        for place in (0, 1):
            self._vector(node, place, "weight", norm=True)

    def _added(self, node: NodeProto) -> None:
        """A product's bias; or what a norm adds to its weight before it multiplies by it."""
        for place in (0, 1):
            other = self._makers.get(node.input[1 - place])
            if other is not None and other.op_type in ("MatMul", "MatMulNBits"):
                self._vector(node, place, "bias", of=other)
            elif self._is_one(node.input[1 - place]):
                self._vector(node, place, "weight")

    def _rotary(self, node: NodeProto) -> None:
        """Tables of angles are the config's; onnx_attributes.py compares them."""
        self._used.update(name for name in node.input if name in self._file)

    # How an input is a tensor of the file.

    def _constant(self, value: str) -> tuple[str, bool] | None:
        """Its name and whether it is turned over on its way; None of what is computed."""
        turned, passed = False, {value}
        while value not in self._file:
            node = self._makers.get(value)
            if node is None or not node.input:
                return None
            if turns_over(node):
                turned = not turned
            elif node.op_type not in PASSED_THROUGH:
                return None
            value = node.input[0]
            if value in passed:
                raise self._refused(node, "it is computed of its own output")
            passed.add(value)
        return value, turned

    def _name_of_constant(self, node: NodeProto, place: int) -> str:
        given = node.input[place] if place < len(node.input) else ""
        found = self._constant(given)
        if found is None:
            raise self._refused(node, f"its input {place}, {shown(given)}, is no constant")
        return found[0]

    def _blocks(
        self, node: NodeProto, values: int, scales: int, zeros: int, shape: Shape, *of: int
    ) -> Blocks:
        found = [self._name_of_constant(node, place) for place in (values, scales)]
        some = len(node.input) > zeros and node.input[zeros]
        found.append(self._name_of_constant(node, zeros) if some else None)
        self._used.update(name for name in found if name)
        return Blocks(self._file, *found, shape, *of)

    def _vector(
        self,
        node: NodeProto,
        place: int,
        kind: str,
        *,
        norm: bool = False,
        of: NodeProto | None = None,
    ) -> None:
        """A tensor of one axis that the module of `of`, or of the node, has as `kind`."""
        found = self._constant(node.input[place]) if place < len(node.input) else None
        if found is None or not self._file.is_float(found[0]):
            return
        if len(self._file.shape(found[0])) != 1 or self._file.shape(found[0]) == (1,):
            return
        offset = self._family.norm_offset if norm else 0.0
        self._put(of or node, kind, Dense(self._file, found[0], offset=offset))

    def _is_one(self, value: str) -> bool:
        return value in self._file and (
            math.prod(self._file.shape(value)) == 1
            and self._file.is_float(value)
            and float(self._file.read(value).reshape(-1)[0]) == 1
        )

    # Which module it belongs to.

    def _put(self, node: NodeProto, kind: str, operand: Operand) -> None:
        module = self._modules.find(node.name, operand.name)
        if module is None:
            if isinstance(operand, Blocks) or node.op_type in ("MatMul", "Gemm"):
                raise self._refused(
                    node,
                    f"neither its name nor {shown(operand.name)} tells which matrix of a"
                    f" {self._family.model_type} it is",
                )
            return  # and unexpected, where nothing else uses it
        key = f"{module}.{kind}"
        other = self._uses.setdefault(key, operand)
        if other != operand:
            raise self._refused(
                node, f"{shown(operand.name)} and {shown(other.name)} are both {key}"
            )
        self._used.add(operand.name)

    def _check_sizes(self, node: NodeProto, of: dict, *names: str) -> None:
        for name in names:
            value = of.get(name)
            if not isinstance(value, int) or not 0 < value < 2**31:
                raise self._refused(node, f"its {name} is {shown(value)}")

    def _refused(self, node: NodeProto, reason: str) -> ExportError:
        return ExportError(
            f"node {shown(node.name)} ({node.op_type}): {reason}; {ADVICE} ({self._file.path})"
        )

    def _matters(self, name: str) -> bool:
        """Whether a tensor that nothing here reads may bear on the logits."""
        if not self._file.is_float(name) and self._file.dtype(name) not in ("U8", "I8"):
            return False
        return math.prod(self._file.shape(name)) > 1 and name not in self._of_angles


def _only_for_angles(file: OnnxFile) -> set[str]:
    """Tensors that nothing uses but what computes rotary angles, by the names of the nodes."""
    angles, others = set(), set()
    for node in file.nodes:
        (angles if ROTARY.search(node.name) else others).update(node.input)
    return angles - others


READERS: dict[str, Callable[[OnnxTensors, NodeProto], None]] = {
    "MatMul": OnnxTensors._product,
    "Gemm": OnnxTensors._affine,
    "MatMulNBits": OnnxTensors._quantized,
    "Gather": OnnxTensors._lookup,
    "GatherBlockQuantized": OnnxTensors._quantized_lookup,
    "LayerNormalization": OnnxTensors._norm,
    "RMSNormalization": OnnxTensors._norm,
    "SimplifiedLayerNormalization": OnnxTensors._norm,
    "SkipLayerNormalization": OnnxTensors._skip_norm,
    "SkipSimplifiedLayerNormalization": OnnxTensors._skip_norm,
    "Mul": OnnxTensors._multiplied,
    "Add": OnnxTensors._added,
    "RotaryEmbedding": OnnxTensors._rotary,
    "GroupQueryAttention": OnnxTensors._rotary,
}
# Of other domains than ONNX's, those that have no weights.
WITHOUT_WEIGHTS = {"MultiHeadAttention", "FastGelu", "QuickGelu", "Gelu"}
OTHERWISE_QUANTIZED = {"DequantizeLinear", "MatMulInteger", "QLinearMatMul", "QGemm"}
