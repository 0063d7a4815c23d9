"""The shape of Llama 3.2 1B as a GGUF file in float16, with the weights our exporter gives it.

    python gguf_llama.py OUTPUT.gguf

A tensor at a time, so that it takes little memory. Names and metadata are those that llama.cpp's
loader of the architecture asks for; there is no vocabulary, as token ids go in and logits come out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
from environment import ROOT

sys.path.insert(0, str(ROOT / "python"))

from kvcache_export.families import llama
from kvcache_export.sources import from_seed

PRESET, SEED = "llama-3.2-1b", 0
# Of a layer: the name here, Hugging Face's, and what decides the numbers of outputs and inputs.
PRODUCTS = (
    ("attn_q", "self_attn.q_proj", "queries", "hidden"),
    ("attn_k", "self_attn.k_proj", "keys", "hidden"),
    ("attn_v", "self_attn.v_proj", "keys", "hidden"),
    ("attn_output", "self_attn.o_proj", "hidden", "queries"),
    ("ffn_gate", "mlp.gate_proj", "inner", "hidden"),
    ("ffn_up", "mlp.up_proj", "inner", "hidden"),
    ("ffn_down", "mlp.down_proj", "hidden", "inner"),
)
NORMS = (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"))


def rope_factors(fields: dict) -> np.ndarray:
    """What each frequency is divided by, as llama.cpp is told it (scaling of type llama3)."""
    scaling, dims = fields["rope_scaling"], fields["head_dim"]
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelengths = 2 * np.pi * fields["rope_theta"] ** (np.arange(0, dims, 2) / dims)
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / scaling["factor"] + smooth)).astype(np.float32)


def in_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Outputs of each head as llama.cpp rotates them: neighbours, not halves of the head."""
    outputs, inputs = weight.shape
    halves = weight.reshape(heads, 2, outputs // heads // 2, inputs)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(outputs, inputs))


def write(path: Path) -> None:
    fields, weights = llama.PRESETS[PRESET], from_seed(PRESET, SEED).weights
    heads, groups = fields["num_attention_heads"], fields["num_key_value_heads"]
    head_dim, hidden = fields["head_dim"], fields["hidden_size"]
    sizes = {"hidden": hidden, "inner": fields["intermediate_size"]}
    sizes |= {"queries": heads * head_dim, "keys": groups * head_dim}
    # By name: Hugging Face's, and the shape; vectors stay float32, as llama.cpp has them.
    tensors = {"token_embd.weight": ("model.embed_tokens", (fields["vocab_size"], hidden))}
    for layer in range(fields["num_hidden_layers"]):
        theirs = f"model.layers.{layer}"
        for name, norm in NORMS:
            tensors[f"blk.{layer}.{name}.weight"] = (f"{theirs}.{norm}", (hidden,))
        for name, product, outputs, inputs in PRODUCTS:
            shape = (sizes[outputs], sizes[inputs])
            tensors[f"blk.{layer}.{name}.weight"] = (f"{theirs}.{product}", shape)
    tensors["output_norm.weight"] = ("model.norm", (hidden,))

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(fields["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(fields["intermediate_size"])
    writer.add_block_count(fields["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(fields["rope_theta"])
    writer.add_layer_norm_rms_eps(fields["rms_norm_eps"])
    writer.add_vocab_size(fields["vocab_size"])
    writer.add_tokenizer_model("none")
    factors = rope_factors(fields)
    writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for name, (_, shape) in tensors.items():
        dtype = np.dtype(np.float32 if len(shape) == 1 else np.float16)
        writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.write_tensor_data(factors)
    rotated = {"attn_q": heads, "attn_k": groups}
    for name, (key, shape) in tensors.items():
        weight = weights.read(f"{key}.weight", shape)
        its_heads = rotated.get(name.split(".")[-2])
        if its_heads is not None:
            weight = in_pairs(weight, its_heads)
        writer.write_tensor_data(weight if len(shape) == 1 else weight.astype(np.float16))
    writer.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
