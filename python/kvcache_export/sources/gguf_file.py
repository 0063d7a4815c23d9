"""Models of llama.cpp: one GGUF file with a config in its metadata and tensors, quantised or not.

Tensors get the names that Hugging Face's checkpoint would have, and are dequantised to float32 as
they are read (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; package gguf). Blocks of
Q8_0, Q4_0 and Q4_1 are what ours are, 32 inputs and a float16 scale, Q4_1 with a float16 minimum:
with those they are stored as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import chat, quantization
from ..errors import ExportError
from ..precision import MatrixType
from ..spec import Shape
from . import gguf_tokenizer
from .gguf_architectures import ARCHITECTURES

if TYPE_CHECKING:
    from gguf import GGUFReader

# Types whose blocks are ours; a block's scale comes first, then its minimum.
BLOCKS = {"int8": "Q8_0", "int4": "Q4_0", "uint4": "Q4_1"}
BLOCK_SIZE = 32
SCALE_BYTES = 2

ROTARY_DIVISORS = "rope_freqs.weight"
LONG_DIVISORS, SHORT_DIVISORS = "rope_factors_long.weight", "rope_factors_short.weight"


class GgufFile:
    """The tensors, and the fields of the config.json that Hugging Face's checkpoint would have."""

    def __init__(self, path: Path):
        """Raises ExportError where it is no such file, or of an architecture that is not known."""
        try:
            import gguf  # noqa: F401 (most exports need it not)
        except ImportError as error:
            raise ExportError(
                f"{path}: a GGUF file needs the Python package gguf; run: python -m pip install -r"
                " requirements.txt"
            ) from error
        self._path = path
        try:
            reader = _reader(path)
            self._metadata = {name: field.contents() for name, field in reader.fields.items()}
            self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        except Exception as error:  # of whatever kind the reader meets in a broken file
            raise ExportError(f"{path} is no GGUF file, or a broken one: {error}") from error
        self._prefix = self._metadata.get("general.architecture")
        if self._prefix not in ARCHITECTURES:
            raise ExportError(
                f"{path}: unsupported architecture {self._prefix!r} (supported:"
                f" {', '.join(ARCHITECTURES)}); export the checkpoint that it was made of"
            )
        self._architecture = ARCHITECTURES[self._prefix]
        self._names = {self._architecture.name(name): name for name in self._tensors}
        for divisors in (ROTARY_DIVISORS, LONG_DIVISORS, SHORT_DIVISORS):  # part of the config
            self._names.pop(divisors, None)

    def fields(self) -> dict[str, Any]:
        """As in config.json; ExportError naming a key that is missing."""
        heads = self._of("attention.head_count")
        fields = {
            "model_type": self._architecture.model_type,
            "vocab_size": self._rows("token_embd.weight"),
            "hidden_size": self._of("embedding_length"),
            "intermediate_size": self._of("feed_forward_length"),
            "num_hidden_layers": self._of("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._kv_heads(),
            "head_dim": self._of("attention.key_length", None),
            "max_position_embeddings": self._of("context_length"),
            "rms_norm_eps": self._of("attention.layer_norm_rms_epsilon"),
            "rope_theta": self._of("rope.freq_base", 10000.0),
            "rope_scaling": self._rotary_scaling(),
            "tie_word_embeddings": "output.weight" not in self._tensors,
            "attention_bias": "blk.0.attn_q.bias" in self._tensors,
            "mlp_bias": "blk.0.ffn_down.bias" in self._tensors,
            **gguf_tokenizer.token_ids(self._metadata),
            **self._architecture.fields(self._of),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def tokenizer_json(self) -> str | None:
        """A tokenizer.json of its vocabulary, where that is of a known kind."""
        return gguf_tokenizer.tokenizer_json(self._metadata)

    def chat_template(self) -> chat.Template | None:
        """Its chat template, with the special tokens that it may name."""
        source = self._metadata.get("tokenizer.chat_template")
        checked = chat.checked(source, f"{self._path}: tokenizer.chat_template")
        tokens = gguf_tokenizer.token_texts(self._metadata)
        return None if checked is None else chat.Template(checked, tokens)

    def added_tokens(self) -> dict[str, int]:
        """The ids of the tokens that are no part of a text, by their own."""
        return gguf_tokenizer.added_tokens(self._metadata)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def dtype(self, key: str) -> str:
        return "F32"

    def shape(self, key: str) -> Shape:
        return tuple(int(size) for size in reversed(self._tensors[self._names[key]].shape))

    def read(self, key: str) -> np.ndarray:
        values = self._dequantized(self._names[key]).reshape(self.shape(key))
        if key.endswith("norm.weight") and self._architecture.norm_offset:
            return values - np.float32(self._architecture.norm_offset)
        return self._rows_in_order(key, values)

    def block_scales(self, key: str, type_: MatrixType) -> np.ndarray | None:
        """Those of a matrix whose blocks are ours, float16 [rows, blocks]; None of another."""
        tensor = self._tensors[self._names[key]]
        if tensor.tensor_type.name != BLOCKS[type_.weights] or type_.block_size != BLOCK_SIZE:
            return None
        size = SCALE_BYTES * quantization.rows(type_)
        rows, inputs = self.shape(key)
        blocks = tensor.data.reshape(rows, inputs // BLOCK_SIZE, -1)
        scales = np.ascontiguousarray(blocks[..., :size]).view("<f2")
        return self._rows_in_order(key, scales.reshape(rows, -1))

    def _rows_in_order(self, key: str, values: np.ndarray) -> np.ndarray:
        if not self._architecture.pairs:
            return values
        if key.endswith(("q_proj.weight", "q_proj.bias")):
            return _halves_together(values, self._of("attention.head_count"))
        if key.endswith(("k_proj.weight", "k_proj.bias")):
            return _halves_together(values, self._kv_heads())
        return values

    def _dequantized(self, name: str) -> np.ndarray:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        try:
            return dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        except Exception as error:
            raise ExportError(
                f"{self._path}: tensor {name!r} of type {tensor.tensor_type.name} cannot be"
                f" dequantised: {error}"
            ) from error

    def _of(self, key: str, *default: Any) -> Any:
        name = f"{self._prefix}.{key}"
        if name not in self._metadata and not default:
            raise ExportError(f"{self._path}: the metadata has no {name}")
        return self._metadata.get(name, *default)

    def _kv_heads(self) -> int:
        return self._of("attention.head_count_kv", self._of("attention.head_count"))

    def _rows(self, name: str) -> int:
        if name not in self._tensors:
            raise ExportError(f"missing tensor {name!r} ({self._path})")
        return int(self._tensors[name].shape[1])

    def _rotary_scaling(self) -> dict[str, Any] | None:
        """Llama 3.1's frequencies are stored as divisors, which is how LongRoPE says its own."""
        if ROTARY_DIVISORS in self._tensors:
            divisors = self._dequantized(ROTARY_DIVISORS).astype(float).tolist()
            return {
                **{"rope_type": "longrope", "short_factor": divisors, "long_factor": divisors},
                "original_max_position_embeddings": self._of("context_length"),
                "attention_factor": 1.0,
            }
        if LONG_DIVISORS in self._tensors:
            return {
                "rope_type": "longrope",
                "long_factor": self._dequantized(LONG_DIVISORS).astype(float).tolist(),
                "short_factor": self._dequantized(SHORT_DIVISORS).astype(float).tolist(),
                "original_max_position_embeddings": self._of(
                    "rope.scaling.original_context_length"
                ),
                "attention_factor": self._of("rope.scaling.attn_factor", None),
            }
        kind = self._of("rope.scaling.type", "none")
        if kind == "none":
            return None
        return {
            "rope_type": kind,
            "factor": self._of("rope.scaling.factor"),
            "original_max_position_embeddings": self._of(
                "rope.scaling.original_context_length", self._of("context_length")
            ),
        }


def _reader(path: Path) -> GGUFReader:
    """The package's, whose views of the file are plain arrays: it makes a million of them."""
    from gguf import GGUFReader

    class Reader(GGUFReader):
        def __setattr__(self, name: str, value: Any) -> None:
            plain = np.asarray(value) if isinstance(value, np.memmap) else value
            super().__setattr__(name, plain)

    return Reader(path)


def _halves_together(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys as Hugging Face has them: the pair of element i is dims / 2 further.

    llama.cpp keeps the two beside each other, as its rotary embedding of Llama turns them.
    """
    apart = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return apart.swapaxes(1, 2).reshape(values.shape)
