"""`Activation` (attribute `kind`): the functions that have no kernel, and their bodies for others.

Each takes `(op, x)` and returns a value of x's shape.
"""

from collections.abc import Callable

import onnx_ir as ir
from onnxscript import OpBuilder

from . import Inputs, NodeType, Outputs, Parts

# The library's kernels of Linear compute these, as its attribute `activation`.
WITHIN_LINEAR = ("gelu_tanh",)


def _gelu_erf(op: OpBuilder, x: ir.Value) -> ir.Value:
    return op.Gelu(x, approximate="none")


def _relu_squared(op: OpBuilder, x: ir.Value) -> ir.Value:
    rectified = op.Relu(x)
    return op.Mul(rectified, rectified)


def _laplace(op: OpBuilder, x: ir.Value) -> ir.Value:
    # The normal distribution's cumulative function, mean sqrt(1/2), deviation sqrt(1/(4 pi)).
    standard = op.Div(op.Sub(x, 0.707107), 0.282095 * 2.0**0.5)
    return op.Mul(op.Add(op.Erf(standard), 1.0), 0.5)


BODIES: dict[str, Callable[[OpBuilder, ir.Value], ir.Value]] = {
    "gelu_tanh": lambda op, x: op.Gelu(x, approximate="tanh"),
    "gelu_erf": _gelu_erf,
    "gelu_clipped": lambda op, x: op.Clip(_gelu_erf(op, x), -10.0, 10.0),
    "quick_gelu": lambda op, x: op.Mul(x, op.Sigmoid(op.Mul(x, 1.702))),
    "relu": lambda op, x: op.Relu(x),
    "relu_squared": _relu_squared,
    "relu6": lambda op, x: op.Clip(x, 0.0, 6.0),
    "leaky_relu": lambda op, x: op.LeakyRelu(x, alpha=0.01),
    "silu": lambda op, x: op.Mul(x, op.Sigmoid(x)),
    "hard_swish": lambda op, x: op.HardSwish(x),
    "mish": lambda op, x: op.Mish(x),
    "laplace": _laplace,
    "sqrt_softplus": lambda op, x: op.Sqrt(op.Softplus(x)),
    "sigmoid": lambda op, x: op.Sigmoid(x),
    "tanh": lambda op, x: op.Tanh(x),
    "identity": lambda op, x: op.Identity(x),
}


def _body(op: OpBuilder, inputs: Inputs, parts: Parts) -> Outputs:
    return [BODIES[parts["kind"]](op, inputs["x"])]


ACTIVATION = NodeType("Activation", ("x",), ("y",), _body, always=frozenset({"x"}))
