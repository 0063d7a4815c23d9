"""Value heads of checkpoints: what they are, and the names of their tensors.

The fields and names are those of trigoRL's `ValueHead` (trigor/models/valueHead.py): two products,
each with a layer norm and an activation function, and a last product with another function.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from . import fields as checked
from .errors import ExportError
from .json_file import shown
from .spec import Norm, Shape, ValueHead

PREFIX = "value_head."
MODULES = {
    "value_head.0": "value_head.fc1",
    "value_head.0.norm": "value_head.ln1",
    "value_head.1": "value_head.fc2",
    "value_head.1.norm": "value_head.ln2",
    "value_head.output": "value_head.fc_out",
}
FIELDS = ("value_head", "value_head_config")  # what configs call it
ACTIVATIONS = {"relu": "relu", "gelu": "gelu_erf", "tanh": "tanh", "sigmoid": "sigmoid"}
LAYER_NORM = Norm("layer_norm", 1e-5, bias=True)  # as torch.nn.LayerNorm is by default
DEFAULTS = {
    "intermediate_dim": 256,
    "bottleneck_dim": 64,
    "use_layer_norm": True,
    "activation": "relu",
    "output_activation": "tanh",
}
IGNORED = {"hidden_dim", "dropout"}  # the first must be the model's; the other is of training


def parse(given: Any, hidden_size: int, name: str = FIELDS[0]) -> ValueHead | None:
    """The field `name` of a config; None where it is missing or null."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ExportError(f"{name} must be an object, not {shown(given)}")
    if unknown := sorted(given.keys() - DEFAULTS.keys() - IGNORED):
        raise ExportError(f"unsupported {name}.{unknown[0]} (supported: {', '.join(DEFAULTS)})")
    found = {**DEFAULTS, "hidden_dim": hidden_size, **given}
    inputs, *sizes = (
        checked.size(f"{name}.{field}", found[field])
        for field in ("hidden_dim", "intermediate_dim", "bottleneck_dim")
    )
    if inputs != hidden_size:
        raise ExportError(f"{name}.hidden_dim {inputs} must be the model's width, {hidden_size}")
    functions = [
        _function(f"{name}.{field}", found[field]) for field in ("activation", "output_activation")
    ]
    normed = checked.flag(f"{name}.use_layer_norm", found["use_layer_norm"])
    return ValueHead(tuple(sizes), LAYER_NORM if normed else None, *functions)


def _function(name: str, value: Any) -> str:
    lower = value.lower() if isinstance(value, str) else value  # as trigoRL takes it
    return ACTIVATIONS[checked.one_of(name, lower, ACTIVATIONS)]


def of_tensors(
    names: Iterable[str], shape: Callable[[str], Shape | None], hidden_size: int
) -> ValueHead | None:
    """That of a checkpoint whose config does not tell, with the default functions.

    `shape` gives that of a tensor by its name, None where there is no such tensor. Raises
    ExportError where there is a part of a value head only.
    """
    there = sorted(name for name in names if name.startswith(PREFIX))
    if not there:
        return None
    sizes = {}
    for field, module in (
        ("intermediate_dim", "value_head.fc1"),
        ("bottleneck_dim", "value_head.fc2"),
    ):
        found = shape(f"{module}.weight")
        if found is None or len(found) != 2:
            what = "none" if found is None else f"of shape {list(found)}"
            raise ExportError(
                f"tensor '{module}.weight' must be a matrix [outputs, inputs], it is {what}, though"
                f" there is {there[0]!r}; {PARTS}"
            )
        sizes[field] = found[0]
    normed = any(name.startswith(("value_head.ln1.", "value_head.ln2.")) for name in there)
    return parse({**sizes, "use_layer_norm": normed}, hidden_size)


def deviation(parameter: str, of: ValueHead, hidden_size: int) -> float:
    """The standard deviation of a weight's random values, as torch.nn.Linear's are by default."""
    role = parameter.rpartition(".")[0]
    sizes = [hidden_size, *of.inner_sizes]
    layer = role.removeprefix(PREFIX)
    inputs = sizes[-1] if layer == "output" else sizes[int(layer)]
    return 1 / math.sqrt(3 * inputs)


PARTS = f"a value head's parts are {', '.join(MODULES.values())}"
