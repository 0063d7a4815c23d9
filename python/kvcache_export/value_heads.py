"""Value heads of checkpoints: what they are, and the names of their tensors.

The fields and names are those of trigoRL's `ValueHead` (trigor/models/valueHead.py): two products,
each with a layer norm and an activation function, and a last product with another function.
"""

from collections.abc import Callable, Mapping
from typing import Any

from . import fields as checked
from .errors import ExportError
from .json_file import shown
from .spec import Norm, Shape, ValueHead

MODULES = {
    "value_head.0": "value_head.fc1",
    "value_head.0.norm": "value_head.ln1",
    "value_head.1": "value_head.fc2",
    "value_head.1.norm": "value_head.ln2",
    "value_head.output": "value_head.fc_out",
}
ACTIVATIONS = {"relu": "relu", "gelu": "gelu_erf", "tanh": "tanh", "sigmoid": "sigmoid"}
LAYER_NORM = Norm("layer_norm", 1e-5, bias=True)  # as torch.nn.LayerNorm is by default
DEFAULTS = {
    "intermediate_dim": 256,
    "bottleneck_dim": 64,
    "use_layer_norm": True,
    "activation": "relu",
    "output_activation": "tanh",
}
IGNORED = {"hidden_dim", "dropout"}  # the model's own; of training


def parse(given: Any) -> ValueHead | None:
    """The field `value_head` of a config; None where it is missing or null."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ExportError(f"value_head must be an object, not {shown(given)}")
    if unknown := sorted(given.keys() - DEFAULTS.keys() - IGNORED):
        raise ExportError(f"unsupported value_head.{unknown[0]} (supported: {', '.join(DEFAULTS)})")
    found = {**DEFAULTS, **given}
    sizes = [
        checked.size(f"value_head.{name}", found[name])
        for name in ("intermediate_dim", "bottleneck_dim")
    ]
    functions = [
        ACTIVATIONS[checked.one_of(f"value_head.{name}", found[name], ACTIVATIONS)]
        for name in ("activation", "output_activation")
    ]
    normed = checked.flag("value_head.use_layer_norm", found["use_layer_norm"])
    return ValueHead(tuple(sizes), LAYER_NORM if normed else None, *functions)


def of_tensors(shape: Callable[[str], Shape | None]) -> ValueHead | None:
    """That of a checkpoint whose config does not tell, with the default functions.

    `shape` gives that of a tensor by its name, None where there is no such tensor.
    """
    names = {"intermediate_dim": "value_head.fc1.bias", "bottleneck_dim": "value_head.fc2.bias"}
    shapes = {field: shape(name) for field, name in names.items()}
    if None in shapes.values():
        return None
    sizes: Mapping[str, Any] = {field: size[0] for field, size in shapes.items() if size}
    return parse({**sizes, "use_layer_norm": shape("value_head.ln1.weight") is not None})
