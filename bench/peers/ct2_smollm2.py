"""SmolLM2 for CTranslate2, with the weights of our GGUF file.

    python ct2_smollm2.py OUTPUT_DIR float32|bfloat16|float16|int8

What its converter for Hugging Face's Llama does, without torch and transformers. The vocabulary's
tokens are the ids as decimal numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import smollm2
from ctranslate2 import specs
from ctranslate2.converters import utils
from ctranslate2.specs import common_spec


def write(directory: Path, weights: str) -> None:
    file = smollm2.GgufFile(smollm2.path())
    fields = file.fields()
    heads, groups = fields["num_attention_heads"], fields["num_key_value_heads"]
    spec = specs.TransformerDecoderModelSpec.from_config(
        fields["num_hidden_layers"],
        heads,
        activation=specs.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,  # all of a head
        rotary_interleave=False,
        rotary_base=fields["rope_theta"],
        num_heads_kv=groups,
    )

    def linear(name: str) -> common_spec.LinearSpec:
        found = common_spec.LinearSpec()
        found.weight = file.read(f"model.{name}.weight")
        return found

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = file.read("model.embed_tokens.weight")
    decoder.projection.weight = decoder.embeddings.weight
    decoder.layer_norm.gamma = file.read("model.norm.weight")
    for number, layer in enumerate(decoder.layer):
        name = f"layers.{number}"
        attention, feed_forward = layer.self_attention, layer.ffn
        attention.layer_norm.gamma = file.read(f"model.{name}.input_layernorm.weight")
        feed_forward.layer_norm.gamma = file.read(f"model.{name}.post_attention_layernorm.weight")
        inputs = [linear(f"{name}.self_attn.{which}_proj") for which in "qkv"]
        utils.fuse_linear(attention.linear[0], inputs)
        attention.linear[1].weight = linear(f"{name}.self_attn.o_proj").weight
        feed_forward.linear_0.weight = linear(f"{name}.mlp.gate_proj").weight
        feed_forward.linear_0_noact.weight = linear(f"{name}.mlp.up_proj").weight
        feed_forward.linear_1.weight = linear(f"{name}.mlp.down_proj").weight
    vocabulary = [str(token) for token in range(fields["vocab_size"])]
    spec.register_vocabulary(vocabulary)
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = vocabulary[-1]
    spec.config.layer_norm_epsilon = fields["rms_norm_eps"]
    spec.validate()
    spec.optimize(quantization=None if weights == "float32" else weights)
    directory.mkdir()
    spec.save(str(directory))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
