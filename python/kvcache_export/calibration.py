"""What each matrix of a model is multiplied with in a text.

The error of a product is that of each weight times what it is multiplied with: channels whose
activations are large deserve the more exact weights, and those whose activations go together can
make up for one another (compensation.py). The float32 model runs in plain ONNX Runtime, with every
such product's input as an output, and what leaves a run goes to files.
"""

import contextlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir

from . import encoding, model, save, verify
from .errors import ExportError
from .nodes import DOMAIN
from .nodes.head import HEAD
from .nodes.hidden_states import HIDDEN_STATES
from .nodes.linear import LINEAR
from .precision import Precision
from .sources import Source

OPTION = "--calibration-ids"
INPUTS = ".inputs"  # behind a role: what the run gives, [1, tokens, inputs]
CALIBRATED = {"int4", "uint4"}


def check(source: Source, precision: Precision, option: str = OPTION) -> None:
    """Raises ExportError where no matrix would be the other for it."""
    types = {of.weights for of in model.matrix_types(source, precision).values()}
    if not types & CALIBRATED:
        raise ExportError(
            f"{option} with weights of {', '.join(sorted(types))}: only int4 and uint4 are"
            f" rounded by a text; use one of these, or leave {option} out"
        )


def calibrated(source: Source, precision: Precision) -> dict[str, int]:
    """How many inputs each matrix has that a text makes another of, by role: none of those that
    the source has in such blocks already."""
    matrices = source.spec.matrices()
    return {
        role: matrices[role].inputs
        for role, of in model.matrix_types(source, precision).items()
        if of.weights in CALIBRATED and source.block_scales(role + encoding.WEIGHT, of) is None
    }


def inputs(
    wide: Path,
    roles: Collection[str],
    ids: np.ndarray,
    directory: Path,
    progress: save.Progress,
) -> dict[str, np.ndarray]:
    """What each of these matrices is multiplied with, float32 [tokens, inputs], a file of each.

    `wide` is the written float32 model, and `ids` [rows, tokens] is the text, whose rows are run
    one after the other. The files are in `directory`, which is made. The token embedding has one
    where it is the head, too; an untied one multiplies nothing. Raises VerificationError where an
    input is not finite.
    """
    tapped = wide.with_name("calibration.onnx")
    ir.save(_tapped(ir.load(wide), roles), tapped)
    runner = verify.Runner(tapped)
    directory.mkdir()
    with contextlib.ExitStack() as open_files:
        files = {}
        for row, tokens in enumerate(ids):
            done = row * ids.shape[1]
            progress(f"calibrating, {done} of {ids.size} tokens", done, ids.size)
            for name, found in runner.run(tokens[None], [ids.shape[1]]).items():
                if name not in files:
                    path = directory / name
                    files[name] = open_files.enter_context(path.open("wb"))
                found.tofile(files[name])
    return {
        name.removesuffix(INPUTS): np.memmap(directory / name, np.float32, "r").reshape(
            ids.size, -1
        )
        for name in files
    }


def _tapped(whole: ir.Model, roles: Collection[str]) -> ir.Model:
    """The model with the products' inputs in place of logits and whatever is beside them."""
    graph = whole.graph
    presents = [value for value in graph.outputs if value.name.startswith("present_")]
    graph.outputs.clear()
    products = [node for node in graph if node.op_type in (LINEAR.name, HEAD.name)]
    for node in products:
        role = _role(node)
        if role not in roles:
            continue
        x = _multiplied(whole, node, role)
        y = ir.Value(
            name=role + INPUTS,
            type=ir.TensorType(ir.DataType.FLOAT),
            shape=ir.Shape([1, None, None]),
        )
        graph.append(ir.node("Identity", [x], outputs=[y]))
        graph.outputs.append(y)
    graph.outputs.extend(presents)
    computed = set(graph.outputs)
    for node in reversed(list(graph)):  # the logits, which nobody asks for any more
        if not any(value in computed or value.uses() for value in node.outputs):
            graph.remove(node, safe=True)
    return whole


def _role(node: ir.Node) -> str:
    """That of the matrix: a weight's name is the role and its kind."""
    of = LINEAR if node.op_type == LINEAR.name else HEAD
    return node.inputs[of.inputs.index("weight")].name.rpartition(".")[0]


def _multiplied(whole: ir.Model, node: ir.Node, role: str) -> ir.Value:
    """What a node multiplies its weight with: its x, behind the norm that it has of its own."""
    of = LINEAR if node.op_type == LINEAR.name else HEAD
    given = dict(zip(of.inputs, node.inputs, strict=False))
    if "norm" not in node.attributes:
        return given["x"]
    given["positions"] = _constant(
        whole.graph, ir.tensor(np.empty(0, np.int64), name=f"{role}.all_positions")
    )
    there = {name: given[name] for name in HIDDEN_STATES.inputs if given.get(name) is not None}
    attributes = {name: node.attributes[name].value for name in ("norm", "epsilon")}
    for function in (HIDDEN_STATES.function(there, attributes), *HIDDEN_STATES.callees):
        whole.functions[function.identifier()] = function
    x = ir.Value(name=f"{role}.multiplied")
    places = [there.get(name) for name in HIDDEN_STATES.inputs]
    about = {"domain": DOMAIN, "overload": HIDDEN_STATES.overload(there, attributes, ())}
    whole.graph.append(ir.node(HIDDEN_STATES.name, places, attributes, outputs=[x], **about))
    return x


def _constant(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    value = ir.Value(
        name=tensor.name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
    )
    graph.register_initializer(value)
    return value
