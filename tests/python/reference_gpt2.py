"""GPT-2 in numpy and float64: an oracle that shares nothing with the exporter.

Written from the definition (Radford et al. 2019, and Hugging Face's modeling_gpt2.py for the
options): one sequence at a time, without a cache, as plainly as possible.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray


def logits(config: dict[str, Any], weights: dict[str, Array], ids: list[int]) -> Array:
    """float64 logits [tokens, vocab_size] of one sequence; `weights` by their names with prefix."""
    tied = config.get("tie_word_embeddings", True)
    head = weights["transformer.wte.weight" if tied else "lm_head.weight"].astype(np.float64)
    return hidden_states(config, weights, ids) @ head.T


def values(
    config: dict[str, Any],
    weights: dict[str, Array],
    ids: list[int],
    activation: str = "relu",
    output_activation: str = "tanh",
) -> Array:
    """float64 values [tokens] of trigoRL's value head, with layer norms where they are there."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = hidden_states(config, weights, ids)
    for i in (1, 2):
        x = x @ w[f"value_head.fc{i}.weight"].T + w[f"value_head.fc{i}.bias"]
        if f"value_head.ln{i}.weight" in w:
            x = _layer_norm(x, w, f"value_head.ln{i}", 1e-5)
        x = ACTIVATIONS[activation](x)
    x = x @ w["value_head.fc_out.weight"].T + w["value_head.fc_out.bias"]
    return ACTIVATIONS[output_activation](x)[:, 0]


def hidden_states(config: dict[str, Any], weights: dict[str, Array], ids: list[int]) -> Array:
    """What the head multiplies, float64 [tokens, n_embd]."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    epsilon = config.get("layer_norm_epsilon", 1e-5)
    activation = ACTIVATIONS[config.get("activation_function", "gelu_new")]
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: len(ids)]
    for layer in range(config["n_layer"]):
        p = f"transformer.h.{layer}."
        normed = _layer_norm(x, w, p + "ln_1", epsilon)
        mixed = _attention(config, layer, _linear(normed, w, p + "attn.c_attn"))
        x = x + _linear(mixed, w, p + "attn.c_proj")
        normed = _layer_norm(x, w, p + "ln_2", epsilon)
        x = x + _linear(activation(_linear(normed, w, p + "mlp.c_fc")), w, p + "mlp.c_proj")
    return _layer_norm(x, w, "transformer.ln_f", epsilon)


def _linear(x: Array, w: dict[str, Array], name: str) -> Array:
    return x @ w[name + ".weight"] + w[name + ".bias"]


def _layer_norm(x: Array, w: dict[str, Array], name: str, epsilon: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + epsilon) * w[name + ".weight"] + w[name + ".bias"]


def _attention(config: dict[str, Any], layer: int, qkv: Array) -> Array:
    heads = config["n_head"]
    q, k, v = (np.stack(np.split(part, heads, -1)) for part in np.split(qkv, 3, -1))
    scores = q @ k.transpose(0, 2, 1)  # [heads, tokens, tokens]
    if config.get("scale_attn_weights", True):
        scores /= math.sqrt(q.shape[-1])
    if config.get("scale_attn_by_inverse_layer_idx", False):
        scores /= layer + 1
    scores[:, ~np.tri(scores.shape[-1], dtype=bool)] = -np.inf
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return np.concatenate(list(shares @ v), -1)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


_erf = np.vectorize(math.erf)


def _gelu(x: Array) -> Array:
    return x * 0.5 * (1 + _erf(x / math.sqrt(2)))


ACTIVATIONS = {
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_accurate": _gelu_tanh,
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_10": lambda x: np.clip(_gelu(x), -10, 10),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "laplace": lambda x: 0.5 * (1 + _erf((x - 0.707107) / (0.282095 * math.sqrt(2)))),
    "sqrtsoftplus": lambda x: np.sqrt(_softplus(x)),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "linear": lambda x: x,
}
