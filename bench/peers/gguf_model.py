"""GPT-2 as a GGUF file for llama.cpp, with the weights that our exporter gives it.

    python gguf_model.py OUTPUT.gguf

Tensor names and metadata are those that llama.cpp's loader of the architecture asks for; there is
no vocabulary, as token ids go in and logits come out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import gpt2_weights
import numpy as np


def write(path: Path) -> None:
    gpt2 = gpt2_weights.source().spec
    hidden, inner = gpt2.hidden_size, gpt2.layers[0].mlp.inner_size
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(gpt2.max_seq_len)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_block_count(len(gpt2.layers))
    writer.add_head_count(gpt2.layers[0].attention.num_heads)
    writer.add_layer_norm_eps(gpt2.final_norm.epsilon)
    writer.add_vocab_size(gpt2.vocab_size)
    writer.add_tokenizer_model("none")

    def add(name: str, key: str, *shape: int) -> None:
        tensor = gpt2_weights.read(key, shape)
        convolution = len(shape) == 2 and key.startswith("h.")  # [inputs, outputs] in a checkpoint
        writer.add_tensor(name, np.ascontiguousarray(tensor.T if convolution else tensor))

    add("token_embd.weight", "wte.weight", gpt2.vocab_size, hidden)
    add("position_embd.weight", "wpe.weight", gpt2.max_seq_len, hidden)
    for layer in range(len(gpt2.layers)):
        ours, theirs = f"h.{layer}", f"blk.{layer}"
        for norm, its in (("ln_1", "attn_norm"), ("ln_2", "ffn_norm")):
            add(f"{theirs}.{its}.weight", f"{ours}.{norm}.weight", hidden)
            add(f"{theirs}.{its}.bias", f"{ours}.{norm}.bias", hidden)
        for product, its, inputs, outputs in (
            ("attn.c_attn", "attn_qkv", hidden, 3 * hidden),
            ("attn.c_proj", "attn_output", hidden, hidden),
            ("mlp.c_fc", "ffn_up", hidden, inner),
            ("mlp.c_proj", "ffn_down", inner, hidden),
        ):
            add(f"{theirs}.{its}.weight", f"{ours}.{product}.weight", inputs, outputs)
            add(f"{theirs}.{its}.bias", f"{ours}.{product}.bias", outputs)
    add("output_norm.weight", "ln_f.weight", hidden)
    add("output_norm.bias", "ln_f.bias", hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes GPT-2 with random weights as GGUF.")
    parser.add_argument("output", type=Path)
    write(parser.parse_args().output)


if __name__ == "__main__":
    main()
