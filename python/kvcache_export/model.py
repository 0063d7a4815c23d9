"""The graph of a source with its weights, which are read when it is written."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from . import encoding, graph
from .precision import FINER_MATRICES, MatrixType, Precision, convert
from .sources import Source
from .spec import Shape


def settled(source: Source, precision: Precision) -> Precision:
    """The precision with the types that some matrices have where nothing else is asked for.

    The embedding and the head of uint4 weights are int8, but for one that the source has in blocks
    of uint4 already: it is taken over as it is.
    """
    rounded = {
        role: others
        for role, others in source.matrix_names().items()
        if role in FINER_MATRICES.get(precision.weights, {})
        and source.block_scales(role + encoding.WEIGHT, precision.of_matrix(role, others)) is None
    }
    return precision.with_finer_matrices(rounded)


def matrix_types(source: Source, precision: Precision) -> dict[str, MatrixType]:
    """How each matrix is stored; overrides may name it by its role or as the checkpoint does."""
    return precision.of_matrices(source.matrix_names())


def with_weights(
    source: Source,
    precision: Precision,
    *,
    rounded_to: str | None = None,
    hidden_states: bool = False,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> ir.Model:
    """The model; each weight is rounded to its element type, or to `rounded_to` before.

    `inputs` are what matrices are multiplied with in a text, by their roles (`calibration.inputs`).

    Raises ExportError for overrides of no matrix and for tensors that are not as they should be.
    """
    types, matrices = matrix_types(source, precision), source.spec.matrices()
    source.check()
    scales_beside: dict[str, np.ndarray] = {}  # of weights read: they come next, and are small

    def value(name: str, dtype: ir.DataType, shape: Shape) -> ir.LazyTensor:
        role, _, kind = name.rpartition(".")
        matrix = None if kind == "bias" else matrices.get(role)
        parameter = name if matrix is None else role + encoding.WEIGHT

        def read() -> ir.Tensor:
            """One weight at a time in memory, and what its quantisation gave beside it."""
            if name in scales_beside:
                return ir.Tensor(scales_beside.pop(name), name=name)
            weight, stored = source.read(parameter), source.stored_name(parameter)
            if rounded_to:
                weight = convert(weight, rounded_to, stored)
            if matrix is not None:
                type_ = types[role]
                scales = source.block_scales(parameter, type_) if type_.quantized else None
                of_text = (inputs or {}).get(role)
                encoded = encoding.encoded(matrix, type_, weight, stored, scales, inputs=of_text)
                weight = encoded.pop(f".{kind}")
                scales_beside.update({role + each: found for each, found in encoded.items()})
            else:
                weight = convert(weight, precision.dtype, stored)
            return ir.Tensor(weight.astype(dtype.numpy(), copy=False), name=name)

        return ir.LazyTensor(read, dtype, ir.Shape(shape), name=name)

    return graph.build(source.spec, precision, types, value, hidden_states=hidden_states)
