"""Files of llama.cpp: the same logits as the checkpoint that they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import load_file

from kvcache_export import sources
from kvcache_export.errors import ExportError
from kvcache_export.sources import gguf_file

FAMILIES = Path(__file__).parents[2] / "goldens" / "families"


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys as llama.cpp's converter lays them out: a pair beside each other."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def write(path: Path, golden: Path, **more: np.ndarray) -> Path:
    """A golden of Llama's as a GGUF file, with further tensors."""
    config = json.loads((golden / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_bos_token_id(0)
    names = {of: name for name, of in gguf_file.NAMES.items()}
    for key, stored in load_file(golden / "model.safetensors").items():
        module, _, suffix = key.rpartition(".")
        parts = module.split(".")
        number = parts[2] if "layers" in parts else ""
        name = names[module.replace(f".{number}.", ".{}.") if number else module].format(number)
        pairs = {"q_proj": heads, "k_proj": kv_heads}.get(parts[-1])
        values = stored.astype(np.float32)
        writer.add_tensor(f"{name}.{suffix}", interleaved(values, pairs) if pairs else values)
    for name, values in more.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


GOLDEN = FAMILIES / "llama"


def test_logits_are_those_of_the_checkpoint(tmp_path: Path, export):
    ids = json.loads((GOLDEN / "golden.json").read_text())["ids"]
    model = PlainModel(export("--model", write(tmp_path / "x.gguf", GOLDEN)))
    expected = np.load(GOLDEN / "logits.npy")
    assert relative_difference(model.run(np.array([ids]))[0][0], expected) < 1e-5


def test_divisors_of_frequencies_are_rotary_scaling(tmp_path: Path):
    divisors = np.array([1, 1, 2.5, 8], np.float32)
    path = write(tmp_path / "x.gguf", GOLDEN, **{"rope_freqs.weight": divisors})
    scaling = sources.from_checkpoint(str(path)).spec.layers[0].attention.rotary.scaling
    assert scaling.divisors == (1, 1, 2.5, 8)
    assert scaling.magnitude == 1


def test_quantised_tensors_are_read_as_their_values(tmp_path: Path):
    rows = np.random.default_rng(1).standard_normal((6, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    packed = gguf.quants.quantize(rows, kind)
    writer.add_tensor("output.weight", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = gguf_file.GgufFile(path)
    assert list(file) == ["lm_head.weight"]
    assert file.shape("lm_head.weight") == (6, 64)
    found = file.read("lm_head.weight")
    assert found.dtype == np.float32
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - rows) <= step).all()
    np.testing.assert_array_equal(found, gguf.quants.dequantize(packed, kind))


def test_what_is_refused(tmp_path: Path):
    def refusal(path: Path) -> str:
        with pytest.raises(ExportError) as error:
            sources.from_checkpoint(str(path)).check()
        return str(error.value)

    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 60)
    assert "broken.gguf is no GGUF file, or a broken one: " in refusal(broken)
    text = tmp_path / "text.gguf"
    text.write_text("hello")
    assert "text.gguf is no GGUF file, or a broken one: " in refusal(text)

    other = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(other, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert "unsupported architecture 'mamba' (supported: llama)" in refusal(other)

    empty = tmp_path / "empty.gguf"
    writer = gguf.GGUFWriter(empty, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert "the metadata has no llama.attention.head_count" in refusal(empty)

    extra = {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}
    unknown = write(tmp_path / "unknown.gguf", GOLDEN, **extra)
    assert "unexpected tensor 'blk.0.attn_sinks.weight'" in refusal(unknown)
