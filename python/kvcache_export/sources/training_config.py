"""The config that trigoRL keeps in a training's checkpoint, as the fields of a GPT-2 config."""

from collections.abc import Mapping
from typing import Any

from .. import value_heads
from ..errors import ExportError
from ..json_file import shown

GPT2 = "GPT2CausalLM"

# Its fields of a GPT-2, with its defaults (trigor/models/gpt2CausalLM.py), by Hugging Face's names.
FIELDS = {
    "vocab_size": ("vocab_size", 259),
    "n_positions": ("max_seq_len", 2048),
    "n_embd": ("hidden_size", 256),
    "n_layer": ("num_layers", 6),
    "n_head": ("num_heads", 8),
    "n_inner": ("intermediate_size", None),
    "activation_function": ("activation", "gelu_new"),
    "layer_norm_epsilon": ("layer_norm_eps", 1e-5),
}
OF_TRAINING = {"dropout", "use_cache"}
START, END = 1, 2  # the tokenizer's


def gpt2_fields(config: Any) -> dict[str, Any]:
    """The fields; ExportError names what they can't be made of.

    `config` is that of the whole training; its `model` holds the language model's type and config,
    perhaps within those of a loss that has a value head beside it.
    """
    model = _object(config, "config")
    of_model = _object(model.get("model"), "config.model")
    kind, inner = of_model.get("type"), _object(of_model.get("config"), "config.model.config")
    name, value_head = "config.model.config", None
    if "model_config" in inner:
        value_head = inner.get(value_heads.FIELDS[1])
        kind, inner, name = _within_loss(inner)
    if kind != GPT2:
        raise ExportError(f"unsupported type of model: {shown(kind)} (supported: {GPT2})")
    known = {given for given, _ in FIELDS.values()} | OF_TRAINING
    if unknown := sorted(inner.keys() - known):
        raise ExportError(
            f"unsupported {name}.{unknown[0]} (supported: {', '.join(sorted(known))})"
        )
    fields = {field: inner.get(given, default) for field, (given, default) in FIELDS.items()}
    return {
        "model_type": "gpt2",
        **fields,
        **{"bos_token_id": START, "eos_token_id": END},
        value_heads.FIELDS[1]: value_head,
    }


def _within_loss(inner: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any], str]:
    """The language model's type, config and the config's name; its type may stand outside."""
    name = "config.model.config.model_config"
    model = _object(inner["model_config"], name)
    if "type" in model:
        return model["type"], _object(model.get("config"), f"{name}.config"), f"{name}.config"
    return inner.get("model_type"), model, name


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ExportError(f"{name} must be an object, not {shown(value)}")
    return value
