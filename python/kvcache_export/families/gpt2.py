"""GPT-2: learned positions, layer norms, biases everywhere, matrices stored [inputs, outputs].

Field names, defaults and aliases are those of Hugging Face's `GPT2Config`. Dropout and summary
fields bear on no logit.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from .. import fields as checked
from .. import spec as of
from .. import value_heads
from ..errors import ExportError
from ..family import Config, Family
from ..spec_check import MAX_LAYERS
from . import register

END_OF_TEXT = 50256

MODULES = {
    "embedding.tokens": "transformer.wte",
    "embedding.positions": "transformer.wpe",
    "layers.{}.attention.norm": "transformer.h.{}.ln_1",
    "layers.{}.attention.qkv": "transformer.h.{}.attn.c_attn",
    "layers.{}.attention.output": "transformer.h.{}.attn.c_proj",
    "layers.{}.mlp.norm": "transformer.h.{}.ln_2",
    "layers.{}.mlp.up": "transformer.h.{}.mlp.c_fc",
    "layers.{}.mlp.down": "transformer.h.{}.mlp.c_proj",
    "final_norm": "transformer.ln_f",
    "head": "lm_head",
}

# The causal mask and its fill value, which older checkpoints hold and Hugging Face ignores too; and
# heads beside the language model's, which read its hidden states and change none of its logits:
# multiple choice (GPT2DoubleHeadsModel), sequences, tokens, questions, and TRL's value head.
HARMLESS = re.compile(
    r"transformer\.h\.\d+\.attn\.(masked_)?bias"
    r"|(multiple_choice_head|score|classifier|qa_outputs|v_head)(\..*)?",
    re.DOTALL,
)


def parse(fields: Mapping[str, Any]) -> Config:
    """Checks every field that bears on inference; ExportError names the first it can't honour."""

    def given(name: str, default: Any, *aliases: str) -> tuple[str, Any]:
        """A field's name as the config spells it, and its value or GPT-2's default."""
        spelled = (each for each in (name, *aliases) if fields.get(each) is not None)
        found = next(spelled, None)
        return (name, default) if found is None else (found, fields[found])

    hidden = checked.size(*given("n_embd", 768, "hidden_size"))
    heads = checked.size(*given("n_head", 12, "num_attention_heads"))
    if hidden % heads:
        raise ExportError(f"n_embd {hidden} is not a multiple of n_head {heads}")
    vocab_size = checked.size(*given("vocab_size", 50257))
    # Where n_ctx differs, it is n_positions that counts the rows of the position embedding.
    positions = checked.size(*given("n_positions", 1024, "max_position_embeddings", "n_ctx"))
    layers = checked.size(*given("n_layer", 12, "num_hidden_layers"), largest=MAX_LAYERS)
    inner = fields.get("n_inner")
    inner = 4 * hidden if inner is None else checked.size("n_inner", inner)
    activation = checked.activation(*given("activation_function", "gelu_new"))
    epsilon = checked.positive(*given("layer_norm_epsilon", 1e-5))
    deviation = checked.positive(*given("initializer_range", 0.02))
    scaled = checked.flag(*given("scale_attn_weights", True))
    by_layer = checked.flag(*given("scale_attn_by_inverse_layer_idx", False))
    tied = checked.flag(*given("tie_word_embeddings", True))
    bos = checked.token("bos_token_id", fields.get("bos_token_id", END_OF_TEXT), vocab_size)
    eos = checked.tokens("eos_token_id", fields.get("eos_token_id", END_OF_TEXT), vocab_size)
    pad = checked.token("pad_token_id", fields.get("pad_token_id"), vocab_size)
    value_head_name, value_head = given(value_heads.FIELDS[0], None, *value_heads.FIELDS[1:])

    mlp = of.Mlp(inner, activation, gated=False, bias=of.MlpBias(up=True, down=True))
    norm = of.Norm("layer_norm", epsilon, bias=True)
    scale = 1 / math.sqrt(hidden // heads) if scaled else 1.0
    scales = [scale / (layer + 1) if by_layer else scale for layer in range(layers)]
    bias = of.AttentionBias(qkv=True, output=True)
    spec = of.DecoderSpec(
        hidden_size=hidden,
        vocab_size=vocab_size,
        max_seq_len=positions,
        embedding=of.Embedding(positions="learned"),
        layers=tuple(
            of.LayerSpec(norm, of.Attention(heads, heads, hidden // heads, each, bias), mlp)
            for each in scales
        ),
        final_norm=norm,
        head=of.Head(tied),
        value_head=value_heads.parse(value_head, hidden, value_head_name),
    )

    def initial_deviation(parameter: str) -> float:
        """Smaller for what writes to the residual stream, as in Hugging Face's initialization."""
        if spec.value_head is not None and parameter.startswith(value_heads.PREFIX):
            return value_heads.deviation(parameter, spec.value_head, hidden)
        residual = parameter.endswith((".attention.output.weight", ".mlp.down.weight"))
        return deviation / math.sqrt(2 * layers) if residual else deviation

    return Config(spec, bos, eos, initial_deviation, pad)


def _trigo(hidden: int) -> dict[str, Any]:
    """A policy and value model of Trigo, as trigoRL trains them: characters, START 1, END 2."""
    return {
        **{"vocab_size": 128, "n_positions": 8192, "n_embd": hidden, "n_layer": 6, "n_head": 8},
        **{"bos_token_id": 1, "eos_token_id": 2},
        "value_head": {"intermediate_dim": 128, "bottleneck_dim": 64},
    }


FAMILY = Family(
    model_type="gpt2",
    model_file="gpt2_with_cache.onnx",
    architectures=("GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel"),
    parse=parse,
    modules=MODULES,
    inputs_first=True,
    prefix="transformer.",
    harmless=HARMLESS,
    own_fields=frozenset({"n_embd", "n_layer", "n_head"}),
    presets={
        "gpt2": {},
        "gpt2-medium": {"n_embd": 1024, "n_layer": 24, "n_head": 16},
        "gpt2-large": {"n_embd": 1280, "n_layer": 36, "n_head": 20},
        "gpt2-xl": {"n_embd": 1600, "n_layer": 48, "n_head": 25},
        "trigo-64": _trigo(64),
        "trigo-256": _trigo(256),
    },
)
register(FAMILY)
