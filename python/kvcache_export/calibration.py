"""How much the error of each input of a matrix counts: its mean square over a text.

The error of a product is that of each weight times what it is multiplied with, so a channel whose
activations are large deserves the more exact weights (llama.cpp's importance matrix is the same
measure). The float32 model runs in plain ONNX Runtime, with a sum behind each product's input: only
these sums leave a run, no activations.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from . import model, save, verify
from .errors import ExportError
from .nodes import DOMAIN
from .nodes.head import HEAD
from .nodes.hidden_states import HIDDEN_STATES
from .nodes.linear import LINEAR
from .precision import Precision
from .sources import Source

OPTION = "--calibration-ids"
SUMS = ".input_squares"  # behind a role: what the run gives, [1, 1, inputs]
TOKENS_AXES = (0, 1)  # of [batch, seq_len, inputs]
CALIBRATED = {"int4", "uint4"}  # whose scales are searched for


def check(source: Source, precision: Precision, option: str = OPTION) -> None:
    """Raises ExportError where no matrix would be the other for it."""
    types = {of.weights for of in model.matrix_types(source, precision).values()}
    if not types & CALIBRATED:
        raise ExportError(
            f"{option} with weights of {', '.join(sorted(types))}: only the scales of int4 and"
            f" uint4 are searched for; use one of these, or leave {option} out"
        )


def importance(wide: Path, ids: np.ndarray, progress: save.Progress) -> dict[str, np.ndarray]:
    """The mean square of each input, float32 [inputs], of every matrix that multiplies, by role.

    `wide` is the written float32 model, and `ids` [rows, tokens] is the text, whose rows are run
    one after the other. The token embedding has an entry where it is the head, too. Raises
    VerificationError where a sum is not finite.
    """
    tapped = wide.with_name("calibration.onnx")
    ir.save(_tapped(ir.load(wide)), tapped)
    runner, sums = verify.Runner(tapped), {}
    for row, tokens in enumerate(ids):
        progress(f"calibrating, {row * ids.shape[1]} of {ids.size} tokens")
        for name, found in runner.run(tokens[None], [ids.shape[1]]).items():
            sums[name] = sums.get(name, 0) + found.reshape(-1).astype(np.float64)
    return {
        name.removesuffix(SUMS): (of / ids.size).astype(np.float32) for name, of in sums.items()
    }


def _tapped(whole: ir.Model) -> ir.Model:
    """The model with the sums of squares in place of logits and whatever is beside them."""
    graph = whole.graph
    axes = _constant(graph, ir.tensor(np.int64(TOKENS_AXES), name="calibration.axes"))
    presents = [value for value in graph.outputs if value.name.startswith("present_")]
    graph.outputs.clear()
    products = [node for node in graph if node.op_type in (LINEAR.name, HEAD.name)]
    for node in products:
        role = _role(node)
        x = _multiplied(whole, node, role)
        y = ir.Value(
            name=role + SUMS, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 1, None])
        )
        graph.append(ir.node("ReduceSumSquare", [x, axes], {"keepdims": 1}, outputs=[y]))
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
