"""GPT-2 for CTranslate2, with the weights that our exporter gives it.

    python ct2_model.py OUTPUT_DIR [--weights float32|int8]

What its converter for Hugging Face's GPT-2 does, without torch and transformers. The vocabulary's
tokens are the ids as decimal numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gpt2_weights
import numpy as np
from ctranslate2 import specs


def write(directory: Path, quantization: str | None) -> None:
    gpt2 = gpt2_weights.source().spec
    hidden, layer = gpt2.hidden_size, gpt2.layers[0]
    inner = layer.mlp.inner_size
    spec = specs.TransformerDecoderModelSpec.from_config(
        len(gpt2.layers),
        layer.attention.num_heads,
        pre_norm=True,
        activation=specs.Activation.GELUTanh,
    )

    def linear(target: specs.LinearSpec, name: str, inputs: int, outputs: int) -> None:
        weight = gpt2_weights.read(f"{name}.weight", (inputs, outputs))
        target.weight = np.ascontiguousarray(weight.T)
        target.bias = gpt2_weights.read(f"{name}.bias", (outputs,))

    def norm(target: specs.LayerNormSpec, name: str) -> None:
        target.gamma = gpt2_weights.read(f"{name}.weight", (hidden,))
        target.beta = gpt2_weights.read(f"{name}.bias", (hidden,))

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = gpt2_weights.read("wte.weight", (gpt2.vocab_size, hidden))
    decoder.projection.weight = decoder.embeddings.weight
    decoder.position_encodings.encodings = gpt2_weights.read(
        "wpe.weight", (gpt2.max_seq_len, hidden)
    )
    norm(decoder.layer_norm, "ln_f")
    for number, layer in enumerate(decoder.layer):
        name = f"h.{number}"
        norm(layer.self_attention.layer_norm, f"{name}.ln_1")
        linear(layer.self_attention.linear[0], f"{name}.attn.c_attn", hidden, 3 * hidden)
        linear(layer.self_attention.linear[1], f"{name}.attn.c_proj", hidden, hidden)
        norm(layer.ffn.layer_norm, f"{name}.ln_2")
        linear(layer.ffn.linear_0, f"{name}.mlp.c_fc", hidden, inner)
        linear(layer.ffn.linear_1, f"{name}.mlp.c_proj", inner, hidden)
    spec.register_vocabulary([str(token) for token in range(gpt2.vocab_size)])
    last = str(gpt2.vocab_size - 1)
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = last
    spec.validate()
    spec.optimize(quantization=quantization)
    directory.mkdir()
    spec.save(str(directory))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Writes GPT-2 with random weights for CTranslate2."
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--weights", choices=("float32", "int8"), default="float32")
    arguments = parser.parse_args()
    write(arguments.output, None if arguments.weights == "float32" else arguments.weights)


if __name__ == "__main__":
    main()
