"""The activation functions a GPT-2 config may name, as Hugging Face's `ACT2FN` defines them.

Each takes `(op, x)` and returns a value of x's shape. `prelu` and `xielu` carry weights of their
own and are therefore not here.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
from onnxscript import OpBuilder

Activation = Callable[[OpBuilder, ir.Value], ir.Value]


def gelu_tanh(op: OpBuilder, x: ir.Value) -> ir.Value:
    return op.Gelu(x, approximate="tanh")


def _gelu_erf(op: OpBuilder, x: ir.Value) -> ir.Value:
    return op.Gelu(x, approximate="none")


def _gelu_clipped(op: OpBuilder, x: ir.Value) -> ir.Value:
    return op.Clip(_gelu_erf(op, x), -10.0, 10.0)


def _quick_gelu(op: OpBuilder, x: ir.Value) -> ir.Value:
    return op.Mul(x, op.Sigmoid(op.Mul(x, 1.702)))


def _silu(op: OpBuilder, x: ir.Value) -> ir.Value:
    return op.Mul(x, op.Sigmoid(x))


def _relu_squared(op: OpBuilder, x: ir.Value) -> ir.Value:
    rectified = op.Relu(x)
    return op.Mul(rectified, rectified)


def _laplace(op: OpBuilder, x: ir.Value) -> ir.Value:
    # The normal distribution's cumulative function, mean sqrt(1/2), deviation sqrt(1/(4 pi)).
    standard = op.Div(op.Sub(x, 0.707107), 0.282095 * 2.0**0.5)
    return op.Mul(op.Add(op.Erf(standard), 1.0), 0.5)


ACTIVATIONS: dict[str, Activation] = {
    # The names of the tanh approximation differ in how torch computes it, not in the function.
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_python_tanh": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_accurate": gelu_tanh,
    "gelu": _gelu_erf,
    "gelu_python": _gelu_erf,
    "gelu_10": _gelu_clipped,
    "quick_gelu": _quick_gelu,
    "relu": lambda op, x: op.Relu(x),
    "relu2": _relu_squared,
    "relu6": lambda op, x: op.Clip(x, 0.0, 6.0),
    "leaky_relu": lambda op, x: op.LeakyRelu(x, alpha=0.01),
    "silu": _silu,
    "swish": _silu,
    "hardswish": lambda op, x: op.HardSwish(x),
    "mish": lambda op, x: op.Mish(x),
    "laplace": _laplace,
    "sqrtsoftplus": lambda op, x: op.Sqrt(op.Softplus(x)),
    "sigmoid": lambda op, x: op.Sigmoid(x),
    "tanh": lambda op, x: op.Tanh(x),
    "linear": lambda op, x: x,
}
