"""The families of models: each is a file here that registers itself."""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import json_file
from ..errors import ExportError
from ..family import Config, Family
from ..json_file import shown

# Fields of a config that would change what a decoder computes, and the values that do not.
REFUSED_UNLESS = {
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}

_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    _FAMILIES[family.model_type] = family


def presets() -> dict[str, tuple[Family, Mapping[str, Any]]]:
    """Published models by name: their family and the fields of their config."""
    return {
        name: (family, fields)
        for family in _FAMILIES.values()
        for name, fields in family.presets.items()
    }


def read_config(path: Path) -> tuple[Family, Config]:
    """Reads a config.json; raises ExportError naming the file or the field."""
    fields = json_file.read_object(path)
    try:
        family = find(fields)
        return family, family.parse(fields)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def find(fields: Mapping[str, Any]) -> Family:
    """The family of a config; ExportError where none can honour it.

    `model_type` may be missing, as in configs made by hand, where something else tells the family.
    """
    model_type = fields.get("model_type")
    if model_type is None:
        family = _guessed(fields)
    elif isinstance(model_type, str) and model_type in _FAMILIES:
        family = _FAMILIES[model_type]
    else:
        raise ExportError(
            f"unsupported model_type: {shown(model_type)} (supported: {', '.join(_FAMILIES)})"
        )
    architectures = fields.get("architectures")
    if architectures and not _is_a(family, architectures):
        raise ExportError(
            f"unsupported architectures {shown(architectures)}: not a language model"
            f" (supported: {', '.join(family.architectures)})"
        )
    for name, accepted in REFUSED_UNLESS.items():
        if name in fields and fields[name] not in accepted:
            raise ExportError(f"unsupported {name}: {shown(fields[name])}")
    return family


def _guessed(fields: Mapping[str, Any]) -> Family:
    for family in _FAMILIES.values():
        if _is_a(family, fields.get("architectures")) or fields.keys() & family.own_fields:
            return family
    known = (name for family in _FAMILIES.values() for name in sorted(family.own_fields))
    raise ExportError(
        f"no model of a known family: it has neither model_type nor {', '.join(known)} (supported:"
        f" {', '.join(_FAMILIES)})"
    )


def _is_a(family: Family, architectures: Any) -> bool:
    names = architectures if isinstance(architectures, list) else []
    return any(name in family.architectures for name in names)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
