"""The toy family in numpy and float64, from its definition: one sequence, without a cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray


def weights(config: dict[str, Any], seed: int) -> dict[str, Array]:
    """A random float32 checkpoint whose every tensor matters, matrices [outputs, inputs]."""
    hidden, inner, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        of_layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (heads * d, hidden),
            "self_attn.k_proj": (kv_heads * d, hidden),
            "self_attn.v_proj": (kv_heads * d, hidden),
            "self_attn.o_proj": (hidden, heads * d),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        if config.get("qk_norm"):
            of_layer |= {"self_attn.q_norm": (d,), "self_attn.k_norm": (d,)}
        shapes |= {f"model.layers.{layer}.{n}.weight": shape for n, shape in of_layer.items()}
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    generator = np.random.default_rng(seed)
    return {
        name: np.float32(generator.normal(1.0 if len(shape) == 1 else 0.0, 0.3, shape))
        for name, shape in shapes.items()
    }


def logits(config: dict[str, Any], tensors: dict[str, Array], ids: list[int]) -> Array:
    """float64 logits [tokens, vocab_size]."""
    w = {name.removesuffix(".weight"): t.astype(np.float64) for name, t in tensors.items()}
    epsilon = config["rms_norm_eps"]
    x = w["model.embed_tokens"][ids] * config.get("embedding_scale", 1.0)
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        normed = _rms_norm(x, w[p + "input_layernorm"], epsilon)
        x = x + _attention(config, layer, normed, w) @ w[p + "self_attn.o_proj"].T
        normed = _rms_norm(x, w[p + "post_attention_layernorm"], epsilon)
        gate, up = (normed @ w[p + f"mlp.{name}_proj"].T for name in ("gate", "up"))
        x = x + (ACTIVATIONS[config["hidden_act"]](gate) * up) @ w[p + "mlp.down_proj"].T
    head = w["model.embed_tokens" if config.get("tie_word_embeddings") else "lm_head"]
    return _soft_capped(_rms_norm(x, w["model.norm"], epsilon) @ head.T, config, "final_soft_cap")


def _rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weight


def _soft_capped(x: Array, config: dict[str, Any], name: str) -> Array:
    cap = config.get(name)
    return x if cap is None else cap * np.tanh(x / cap)


def _attention(config: dict[str, Any], layer: int, x: Array, w: dict[str, Array]) -> Array:
    p, d, tokens = f"model.layers.{layer}.self_attn.", config["head_dim"], len(x)
    q, k, v = (
        (x @ w[p + f"{name}_proj"].T).reshape(tokens, -1, d).swapaxes(0, 1) for name in "qkv"
    )
    if config.get("qk_norm"):
        q, k = (
            _rms_norm(y, w[p + f"{n}_norm"], config["rms_norm_eps"])
            for n, y in zip("qk", (q, k), strict=True)
        )
    q, k = _rotated(config, q), _rotated(config, k)
    sharing = len(q) // len(k)
    k, v = np.repeat(k, sharing, axis=0), np.repeat(v, sharing, axis=0)
    scores = _soft_capped(q @ k.swapaxes(1, 2) / math.sqrt(d), config, "attention_soft_cap")
    query, key = np.ogrid[:tokens, :tokens]
    hidden = key > query
    window = config.get("windows", [None] * (layer + 1))[layer]
    if window is not None:
        hidden = hidden | (query - key >= window)
    scores = np.where(hidden, -np.inf, scores)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return (shares @ v).swapaxes(0, 1).reshape(tokens, -1)


def _rotated(config: dict[str, Any], x: Array) -> Array:
    """Pair by pair, as complex numbers: x [heads, tokens, head_dim]."""
    dims = config.get("rotary_dims", config["head_dim"])
    first = np.arange(0, dims, 2) if config.get("interleaved") else np.arange(dims // 2)
    second = first + (1 if config.get("interleaved") else dims // 2)
    angles = np.arange(x.shape[1])[:, None] * config["rope_theta"] ** (
        -np.arange(0, dims, 2) / dims
    )
    turned = (x[..., first] + 1j * x[..., second]) * np.exp(1j * angles)
    y = x.copy()
    y[..., first], y[..., second] = turned.real, turned.imag
    return y


ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu_pytorch_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
}
