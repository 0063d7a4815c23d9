"""Files of llama.cpp: the same logits as the checkpoint that they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import load_file, save_file

from kvcache_export import calibration, quantization, sources
from kvcache_export.errors import ExportError
from kvcache_export.precision import MatrixType, Precision
from kvcache_export.sources import gguf_file
from kvcache_export.sources.gguf_architectures import ARCHITECTURES, NAMES

FAMILIES = Path(__file__).parents[2] / "goldens" / "families"


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys as llama.cpp's converter lays them out: a pair beside each other."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


# Of each architecture a golden, and what of its config llama.cpp's files cannot say otherwise.
CASES = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "smollm3": ("smollm3", {}),
    "phi3": ("phi3-longrope", {}),
    "gemma": ("gemma", {"tie_word_embeddings": True}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 8}),
    "gemma3": ("gemma3", {"query_pre_attn_scalar": 8, "layer_types": None}),
}


def checkpoint(path: Path, architecture: str) -> Path:
    """The golden's checkpoint with a config that a GGUF file can say."""
    golden, changes = CASES[architecture]
    config = json.loads((FAMILIES / golden / "config.json").read_text()) | changes
    tensors = load_file(FAMILIES / golden / "model.safetensors")
    if config["tie_word_embeddings"]:
        tensors.pop("lm_head.weight", None)
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    save_file(tensors, path / "model.safetensors")
    return path


def metadata(architecture: str, config: dict) -> dict[str, int | float]:
    """What llama.cpp's converter writes, by the keys without the architecture's name."""
    heads, rope = config["num_attention_heads"], config["rope_parameters"]
    found = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
    }
    if architecture == "phi3":
        dims = config["hidden_size"] // heads * rope["partial_rotary_factor"]
        found |= {"rope.dimension_count": int(dims), "rope.scaling.attn_factor": 1.0}
        found["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    else:
        found["attention.key_length"] = config["head_dim"]
    if architecture == "gemma3":
        found["rope.freq_base"] = rope["full_attention"]["rope_theta"]
        found["rope.freq_base_swa"] = rope["sliding_attention"]["rope_theta"]
    else:
        found["rope.freq_base"] = rope["rope_theta"]
    if architecture in ("gemma2", "gemma3"):
        found["attention.sliding_window"] = config["sliding_window"]
    if architecture == "gemma2":
        for cap in ("attn_logit_softcapping", "final_logit_softcapping"):
            found[cap] = config[cap]
    return found


def write(path: Path, source: Path, architecture: str = "llama", **more: np.ndarray) -> Path:
    """A checkpoint as a GGUF file, as llama.cpp's converter makes it, with further tensors."""
    config = json.loads((source / "config.json").read_text())
    kind = ARCHITECTURES[architecture]
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata(architecture, config).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{architecture}.{key}", value)
    writer.add_bos_token_id(0)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    names = {of: name for name, of in {**NAMES, **kind.names}.items()}
    for key, stored in load_file(source / "model.safetensors").items():
        module, _, suffix = key.rpartition(".")
        parts = module.split(".")
        number = parts[2] if "layers" in parts else ""
        name = names[module.replace(f".{number}.", ".{}.") if number else module].format(number)
        pairs = {"q_proj": heads, "k_proj": kv_heads}.get(parts[-1]) if kind.pairs else None
        values = stored.astype(np.float32)
        values = values + np.float32(kind.norm_offset) if module.endswith("norm") else values
        writer.add_tensor(f"{name}.{suffix}", interleaved(values, pairs) if pairs else values)
    for name, values in more.items():
        writer.add_tensor(name, values)
    finish(writer)
    return path


GOLDEN = FAMILIES / "llama"


def test_logits_are_those_of_hugging_face(tmp_path: Path, export):
    ids = json.loads((GOLDEN / "golden.json").read_text())["ids"]
    model = PlainModel(export("--model", write(tmp_path / "x.gguf", GOLDEN)))
    expected = np.load(GOLDEN / "logits.npy")
    assert relative_difference(model.run(np.array([ids]))[0][0], expected) < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_the_checkpoint(architecture: str, tmp_path: Path, export):
    """Written down from files that the converter of llama.cpp made of these checkpoints.

    Those gave Hugging Face's logits within 3e-6; they are not here, for the converter needs torch.
    """
    source, more = checkpoint(tmp_path / "checkpoint", architecture), {}
    if architecture == "phi3":
        rope = json.loads((source / "config.json").read_text())["rope_parameters"]
        for length in ("long", "short"):
            divisors = np.array(rope[f"{length}_factor"], np.float32)
            more[f"rope_factors_{length}.weight"] = divisors
    file = write(tmp_path / "x.gguf", source, architecture, **more)
    ids = np.random.default_rng(0).integers(0, 37, (1, 30))
    found, expected = (PlainModel(export("--model", each)).run(ids)[0] for each in (file, source))
    assert relative_difference(found, expected) < 1e-5


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
    finish(writer)
    file = gguf_file.GgufFile(path)
    assert list(file) == ["lm_head.weight"]
    assert file.shape("lm_head.weight") == (6, 64)
    found = file.read("lm_head.weight")
    assert found.dtype == np.float32
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - rows) <= step).all()
    np.testing.assert_array_equal(found, gguf.quants.dequantize(packed, kind))


BLOCK = 32


def random_blocks(generator: np.random.Generator, shape: tuple[int, int], type_: MatrixType):
    """A matrix in blocks as no quantiser of ours would choose them: bytes, values and scales."""
    rows, inputs = shape
    half = 1 << (type_.bits - 1)
    values = generator.integers(-half, half, (rows, inputs // BLOCK, BLOCK))
    values = values // generator.integers(1, 4, (rows, inputs // BLOCK, 1))  # not to the limit
    of_block = quantization.rows(type_)
    scales = generator.standard_normal((rows, inputs // BLOCK, of_block)) / 500
    scales = scales.astype(np.float16)
    stored = values.astype(np.int8)
    if type_.bits == 4:
        low, high = np.split((values + half).astype(np.uint8), 2, axis=-1)
        stored = low | high << 4
    data = np.concatenate([scales.view(np.uint8), stored.view(np.uint8)], axis=-1)
    values += half - quantization.zero_point(type_)
    return data.reshape(rows, -1), values.reshape(rows, inputs), scales.reshape(rows, -1)


def write_blocks(path: Path, type_: MatrixType) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A model of one layer whose matrices are all in blocks; their values and scales by name."""
    generator = np.random.default_rng(type_.bits)
    kind = gguf.GGMLQuantizationType[gguf_file.BLOCKS[type_.weights]]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(16)
    writer.add_layer_norm_rms_eps(1e-5)
    shapes = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64)}
    shapes |= {"ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}
    names = {name: f"blk.0.{name}" for name in shapes}
    shapes["token_embd"] = (70, 64)
    stored = {}
    for name, shape in shapes.items():
        data, *stored[name] = random_blocks(generator, shape, type_)
        writer.add_tensor(f"{names.get(name, name)}.weight", data, raw_dtype=kind)
    for norm in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{norm}.weight", np.ones(64, np.float32))
    finish(writer)
    return stored


@pytest.mark.parametrize("weights", ["int8", "int4", "uint4"])
def test_blocks_like_ours_are_taken_over_as_they_are(tmp_path: Path, weights: str):
    type_ = MatrixType(weights, BLOCK)
    stored = write_blocks(tmp_path / "x.gguf", type_)
    source = sources.from_checkpoint(str(tmp_path / "x.gguf"))

    def together(*names: str) -> list[np.ndarray]:
        def in_order(name: str, values: np.ndarray) -> np.ndarray:
            heads = {"attn_q": 4, "attn_k": 2}.get(name)
            return values if heads is None else gguf_file._halves_together(values, heads)

        return [np.concatenate([in_order(n, stored[n][i]) for n in names]) for i in (0, 1)]

    joined = {"layers.0.attention.qkv": ("attn_q", "attn_k", "attn_v")}
    joined |= {"layers.0.mlp.up": ("ffn_gate", "ffn_up"), "layers.0.mlp.down": ("ffn_down",)}
    joined |= {"layers.0.attention.output": ("attn_output",), "embedding.tokens": ("token_embd",)}
    for role, names in joined.items():
        parameter = f"{role}.weight"
        values, scales = together(*names)
        weight = source.read(parameter)
        by_inputs = weight.T if role == "embedding.tokens" else weight
        given = source.block_scales(parameter, type_)
        np.testing.assert_array_equal(given, scales.T)
        found, found_scales = quantization.quantize(by_inputs, type_, role, given)
        np.testing.assert_array_equal(found_scales, scales.T)
        np.testing.assert_array_equal(
            found.astype(int) - quantization.zero_point(type_), values.T, role
        )
        assert source.block_scales(parameter, MatrixType(weights, 64)) is None
        for other in {"int8", "int4", "uint4"} - {weights}:
            assert source.block_scales(parameter, MatrixType(other, BLOCK)) is None


@pytest.mark.parametrize("weights", ["int8", "uint4"])
def test_an_export_of_blocks_has_their_values(tmp_path: Path, export, weights: str):
    """The gate's and up's panels alternate, and so do their scales."""
    write_blocks(tmp_path / "x.gguf", MatrixType(weights, BLOCK))
    ids = np.random.default_rng(0).integers(0, 70, (1, 20))
    plain = PlainModel(export("--model", tmp_path / "x.gguf"))
    options = ("--weights", weights, "--block-size", "32", "--activations", "float32")
    blocks = PlainModel(export("--model", tmp_path / "x.gguf", *options))
    assert relative_difference(blocks.run(ids)[0], plain.run(ids)[0]) < 1e-5


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
    finish(writer)
    assert "unsupported architecture 'mamba' (supported: llama, qwen2, " in refusal(other)

    empty = tmp_path / "empty.gguf"
    writer = gguf.GGUFWriter(empty, "llama")
    finish(writer)
    assert "the metadata has no llama.attention.head_count" in refusal(empty)

    extra = {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}
    unknown = write(tmp_path / "unknown.gguf", GOLDEN, **extra)
    assert "unexpected tensor 'blk.0.attn_sinks.weight'" in refusal(unknown)


def test_a_text_changes_no_block_that_is_taken_over(tmp_path: Path):
    """Nothing is computed for it then."""
    write_blocks(tmp_path / "x.gguf", MatrixType("uint4", BLOCK))
    source = sources.from_checkpoint(str(tmp_path / "x.gguf"))
    assert calibration.calibrated(source, Precision("float32", "uint4", BLOCK)) == {}
    rounded = calibration.calibrated(source, Precision("float32", "int4", BLOCK))
    assert rounded.keys() == source.spec.matrices().keys()
