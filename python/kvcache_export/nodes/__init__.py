"""The nodes of domain `kvcache`, written as ONNX model-local functions.

Plain ONNX Runtime inlines their bodies. The kvcache library registers kernels under the same domain
and names, and ONNX Runtime then ignores the bodies. docs/MODEL_FILE.md says what both must compute.

What a node may have or not (a bias, a norm, a gate) are inputs that may be missing, at fixed
places, and attributes. A body cannot ask for them, so each combination in use is a function of its
own *overload*, whose name lists them.

Shapes may hold zeros (no batch, no new token, no past), so every Reshape computes its target and
sets `allowzero`: in a target, -1 and a plain 0 are ambiguous once a tensor is empty.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from onnxscript import OpBuilder, build_function

DOMAIN = "kvcache"
DOMAIN_VERSION = 2
OPSET_VERSION = 21
OPSETS = {"": OPSET_VERSION, DOMAIN: DOMAIN_VERSION}

ATTRIBUTE_TYPES = {
    int: ir.AttributeType.INT,
    float: ir.AttributeType.FLOAT,
    str: ir.AttributeType.STRING,
}

Inputs = Mapping[str, ir.Value]  # those that are there
Parts = Mapping[str, Any]  # attributes as they are, and names of the variant
Outputs = Sequence[ir.Value]


@dataclass(frozen=True)
class NodeType:
    """A node's name, its inputs in their places, and its body for what of them is there.

    The body is given the inputs, and the attributes as they are; of a number it must use the
    attribute itself, by `reference` or `number`, as that may differ from node to node. `variant`
    is what else the body depends on.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: Callable[[OpBuilder, Inputs, Parts], Outputs]
    always: frozenset[str] = frozenset()  # inputs and attributes that no overload's name tells
    callees: tuple[ir.Function, ...] = field(default=(), compare=False)

    def overload(self, inputs: Iterable[str], attributes: Parts, variant: Iterable[str]) -> str:
        there = [name for name in self.inputs if name in inputs] + list(attributes)
        told = [name for name in there if name not in self.always]
        values = ((name, attributes.get(name)) for name in told)
        kinds = (value if isinstance(value, str) else name for name, value in values)
        return ".".join([*kinds, *variant])

    def function(
        self, inputs: Iterable[str], attributes: Parts, variant: Iterable[str] = ()
    ) -> ir.Function:
        """The body for these inputs and attributes; the same object each time, to be left as is."""
        typed = tuple((name, type(value), value) for name, value in attributes.items())
        return _traced(self, frozenset(inputs), typed, tuple(variant))


@functools.cache  # tracing takes most of an export's time, and its graph is built several times
def _traced(
    of: NodeType,
    inputs: frozenset[str],
    typed: tuple[tuple[str, type, Any], ...],
    variant: tuple[str, ...],
) -> ir.Function:
    """`typed` are attributes with their types, as 1 and 1.0 are the same key."""
    attributes = {name: value for name, _, value in typed}

    def trace(op: OpBuilder, *values: ir.Value) -> Outputs:
        given = {value.name: value for value in values if value.name in inputs}
        found = of.body(op, given, {**attributes, **dict.fromkeys(variant, True)})
        for name, value in zip(of.outputs, found, strict=True):
            value.name = name
        return found

    function = build_function(
        trace,
        [ir.Value(name=name) for name in of.inputs],
        domain=DOMAIN,
        name=of.name,
        attributes=[ir.Attr(name, ATTRIBUTE_TYPES[type_], None) for name, type_, _ in typed],
        opset_imports=OPSETS,
    )
    function.overload = of.overload(inputs, attributes, variant)
    return function


def reference(name: str, type_: type, within: str | None = None) -> ir.RefAttr:
    """An attribute of the function, for one of that name, or of `within`, in its body."""
    return ir.RefAttr(within or name, name, ATTRIBUTE_TYPES[type_])


def number(op: OpBuilder, name: str, type_: type = int) -> ir.Value:
    """An attribute of the function as a scalar, int64 or float32."""
    kind = "value_int" if type_ is int else "value_float"
    return op.Constant(**{kind: ir.RefAttr(kind, name, ATTRIBUTE_TYPES[type_])})


def axis(op: OpBuilder, name: str) -> ir.Value:
    """An attribute of the function as a shape of one axis."""
    return op.Reshape(number(op, name), [1])


def soft_capped(op: OpBuilder, x: ir.Value) -> ir.Value:
    """cap * tanh(x / cap), of the attribute `soft_cap`."""
    cap = op.CastLike(number(op, "soft_cap", float), x)
    return op.Mul(op.Tanh(op.Div(x, cap)), cap)
