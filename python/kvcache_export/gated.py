"""What Llama and the families after it share: RMS norms, rotary positions, gated MLPs.

A family's file says what of its configs it reads in its own way; names, meanings and defaults are
those of Hugging Face's configs.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import fields as checked
from . import rope
from . import spec as of
from .errors import ExportError
from .family import Config, Family
from .json_file import shown
from .spec_check import MAX_LAYERS

MODULES = {
    "embedding.tokens": "model.embed_tokens",
    "layers.{}.attention.norm": "model.layers.{}.input_layernorm",
    "layers.{}.attention.qkv": (
        "model.layers.{}.self_attn.q_proj",
        "model.layers.{}.self_attn.k_proj",
        "model.layers.{}.self_attn.v_proj",
    ),
    "layers.{}.attention.output": "model.layers.{}.self_attn.o_proj",
    "layers.{}.mlp.norm": "model.layers.{}.post_attention_layernorm",
    "layers.{}.mlp.up": ("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
    "layers.{}.mlp.down": "model.layers.{}.mlp.down_proj",
    "final_norm": "model.norm",
    "head": "lm_head",
}

QK_NORMS = {
    "layers.{}.attention.q_norm": "model.layers.{}.self_attn.q_norm",
    "layers.{}.attention.k_norm": "model.layers.{}.self_attn.k_norm",
}

SANDWICH_NORMS = {
    "layers.{}.attention.post_norm": "model.layers.{}.post_attention_layernorm",
    "layers.{}.mlp.norm": "model.layers.{}.pre_feedforward_layernorm",
    "layers.{}.mlp.post_norm": "model.layers.{}.post_feedforward_layernorm",
}

# Frequencies that older checkpoints hold, and heads beside the language model's.
HARMLESS = re.compile(
    r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"
    r"|(score|classifier|qa_outputs|v_head)(\..*)?",
    re.DOTALL,
)

FULL, SLIDING = "full_attention", "sliding_attention"


class GatedConfig:
    """Reads a config.json, where it says nothing with the family's defaults."""

    def __init__(self, fields: Mapping[str, Any], defaults: Mapping[str, Any]):
        self._fields, self._defaults = fields, defaults
        self.hidden = self.size("hidden_size", 4096)
        self.heads = self.size("num_attention_heads", 32)
        self.kv_heads = self.size("num_key_value_heads", self.heads)
        if self.get("head_dim") is None and self.hidden % self.heads:
            raise ExportError(
                f"hidden_size {self.hidden} is not a multiple of num_attention_heads {self.heads},"
                " and there is no head_dim"
            )
        self.head_dim = self.size("head_dim", self.hidden // self.heads)
        self.num_layers = self.size("num_hidden_layers", 32, MAX_LAYERS)
        self.positions = self.size("max_position_embeddings", 2048)
        self.norm = of.Norm(
            "rms_norm", checked.positive("rms_norm_eps", self.get("rms_norm_eps", 1e-6))
        )

    def get(self, name: str, default: Any = None) -> Any:
        """A field's value; null counts as nothing."""
        value = self._fields.get(name)
        value = self._defaults.get(name) if value is None else value
        return default if value is None else value

    def size(self, name: str, default: int | None = None, largest: int = checked.MAX_SIZE) -> int:
        return checked.size(name, self.get(name, default), largest)

    def flag(self, name: str, default: bool = False) -> bool:
        return checked.flag(name, self.get(name, default))

    def rotary(self) -> of.Rotary:
        given = {name: value for name, value in self._fields.items() if value is not None}
        return rope.read({**self._defaults, **given}, self.head_dim, self.positions)

    def attention_bias(self) -> of.AttentionBias:
        bias = self.flag("attention_bias")
        return of.AttentionBias(qkv=bias, output=bias)

    def windows(self, types: list[str]) -> list[int | None]:
        """`sliding_window` in the layers that slide."""
        return [self.size("sliding_window", 4096) if each == SLIDING else None for each in types]

    def layer_types(self, usual: Callable[[int], str]) -> list[str]:
        """FULL or SLIDING of each layer, as `layer_types` says or the family has it."""
        types = self.get("layer_types")
        if types is None:
            return [usual(layer) for layer in range(self.num_layers)]
        if not isinstance(types, list) or len(types) != self.num_layers:
            raise ExportError(
                f"layer_types must be a list of {self.num_layers}, one for each layer, not"
                f" {shown(types)}"
            )
        return [checked.one_of("layer_types", each, (FULL, SLIDING)) for each in types]

    def attention(self, **parts: Any) -> of.Attention:
        """Of every layer alike, but for `parts`."""
        usual = {
            "num_heads": self.heads,
            "num_kv_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "scale": 1 / math.sqrt(self.head_dim),
            "bias": of.AttentionBias(qkv=False, output=False),
        }
        return of.Attention(**{**usual, **parts})

    def mlp(self, activation: str = "hidden_act", *, bias: bool = False) -> of.Mlp:
        kind = checked.activation(activation, self.get(activation, "silu"))
        inner = self.size("intermediate_size", 11008)
        return of.Mlp(inner, kind, gated=True, bias=of.MlpBias(up=bias, down=bias))

    def config(
        self,
        attentions: list[of.Attention],
        mlp: of.Mlp,
        *,
        embedding: of.Embedding | None = None,
        post_norm: of.Norm | None = None,
        logits_soft_cap: float | None = None,
    ) -> Config:
        vocabulary = self.size("vocab_size", 32000)
        deviation = checked.positive("initializer_range", self.get("initializer_range", 0.02))
        spec = of.DecoderSpec(
            hidden_size=self.hidden,
            vocab_size=vocabulary,
            max_seq_len=self.positions,
            embedding=embedding or of.Embedding(),
            layers=tuple(of.LayerSpec(self.norm, each, mlp, post_norm) for each in attentions),
            final_norm=self.norm,
            head=of.Head(self.flag("tie_word_embeddings"), logits_soft_cap),
        )
        bos = checked.token("bos_token_id", self.get("bos_token_id"), vocabulary)
        eos = checked.tokens("eos_token_id", self.get("eos_token_id"), vocabulary)
        pad = checked.token("pad_token_id", self.get("pad_token_id"), vocabulary)
        return Config(spec, bos, eos, lambda parameter: deviation, pad)


def alternating(period: int) -> Callable[[int], str]:
    """Every `period`-th layer is full, those before it slide."""
    return lambda layer: SLIDING if (layer + 1) % period else FULL


def windows(config: GatedConfig) -> list[int | None]:
    """The window of each layer where `use_sliding_window` says that there are any."""
    if not config.flag("use_sliding_window"):
        return [None] * config.num_layers
    first = config.size("max_window_layers", 28)
    return config.windows(config.layer_types(lambda layer: SLIDING if layer >= first else FULL))


def family(
    model_type: str,
    name: str,
    parse: Callable[[Mapping[str, Any]], Config],
    modules: Mapping[str, str | tuple[str, ...]] = MODULES,
    **more: Any,
) -> Family:
    """A family whose classes are called `name` and whose checkpoints are laid out as Llama's."""
    more.setdefault("architectures", (f"{name}ForCausalLM", f"{name}Model"))
    return Family(
        model_type=model_type,
        model_file="model_with_cache.onnx",
        parse=parse,
        modules=modules,
        inputs_first=False,
        prefix="model.",
        harmless=HARMLESS,
        **more,
    )
