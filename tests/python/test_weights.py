"""Weights of checkpoints and seeds: found by name, checked, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kvcache_export import sources
from kvcache_export.config import PRESETS
from kvcache_export.errors import ExportError
from kvcache_export.export import model_with_weights
from kvcache_export.precision import Precision

C_ATTN = "transformer.h.1.attn.c_attn.weight"


def export_source(directory: Path) -> sources.Source:
    """The source, its tensors checked as an export does."""
    source = sources.from_checkpoint(str(directory))
    model_with_weights(source, Precision("float32", "float32"))
    return source


def shards(directory: Path, tensors: dict[str, np.ndarray]) -> None:
    """Replaces model.safetensors by two shards and their index."""
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for shard in set(weight_map.values()):
        part = {name: tensors[name] for name in names if weight_map[name] == shard}
        save_file(part, directory / shard)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))


def test_names_with_and_without_prefix_and_mask_buffers(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    bare = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    bare["h.0.attn.bias"] = np.tri(32, dtype=np.float32)[None, None]
    bare["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    bare["lm_head.weight"] = tensors["transformer.wte.weight"]  # tied, and saved all the same

    source = export_source(checkpoints.write(tmp_path, checkpoints.SMALL, bare))

    for name, value in tensors.items():
        np.testing.assert_array_equal(source.weights.read(name, value.shape), value)


def test_shards(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    shards(checkpoints.write(tmp_path, checkpoints.SMALL, tensors), tensors)

    source = export_source(tmp_path)

    for name, value in tensors.items():
        np.testing.assert_array_equal(source.weights.read(name, value.shape), value)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_element_types_are_read(tmp_path: Path, dtype: type):
    tensors = checkpoints.weights(checkpoints.SMALL)
    tensors = {name: value.astype(dtype) for name, value in tensors.items()}
    source = export_source(checkpoints.write(tmp_path, checkpoints.SMALL, tensors))
    np.testing.assert_array_equal(source.weights.read(C_ATTN, (24, 72)), tensors[C_ATTN])


def test_origin_is_the_name_of_the_directory(tmp_path: Path):
    assert export_source(checkpoints.write_random(tmp_path / "my-gpt2")).origin == "my-gpt2"


def refuse(directory: Path, *parts: str) -> None:
    with pytest.raises(ExportError) as error:
        export_source(directory)
    for part in (*parts, str(directory)):
        assert part in str(error.value)


def test_missing_tensor(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    del tensors[C_ATTN]
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(tmp_path, f"missing tensor {C_ATTN!r}")


def test_missing_untied_head(tmp_path: Path):
    config = {**checkpoints.SMALL, "tie_word_embeddings": False}
    checkpoints.write(tmp_path, config, checkpoints.weights(checkpoints.SMALL))
    refuse(tmp_path, "missing tensor 'lm_head.weight'")


def test_misshapen_tensor(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    tensors[C_ATTN] = np.ascontiguousarray(tensors[C_ATTN].T)
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(tmp_path, f"tensor {C_ATTN!r} has shape [72, 24], expected [24, 72]")


def test_tensor_of_integers(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    tensors[C_ATTN] = tensors[C_ATTN].astype(np.int8)
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(tmp_path, f"tensor {C_ATTN!r} has element type I8")


def test_more_layers_than_the_config_says(tmp_path: Path):
    tensors = checkpoints.weights({**checkpoints.SMALL, "n_layer": 3})
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(tmp_path, "unexpected tensor 'transformer.h.2.")


def test_no_weights(tmp_path: Path):
    checkpoints.write_random(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    refuse(tmp_path, "no model.safetensors")


def test_torch_weights_only(tmp_path: Path):
    checkpoints.write_random(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refuse(tmp_path, "pytorch_model.bin only", "save_pretrained")


def test_damaged_file(tmp_path: Path):
    checkpoints.write_random(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refuse(tmp_path, f"cannot read {path}")


def test_missing_shard(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    shards(checkpoints.write(tmp_path, checkpoints.SMALL, tensors), tensors)
    (tmp_path / "part-1.safetensors").unlink()
    refuse(tmp_path, "cannot read", "part-1.safetensors")


@pytest.mark.parametrize(
    "content", ["{", "{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": []}}']
)
def test_damaged_index(tmp_path: Path, content: str):
    checkpoints.write_random(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(content)
    refuse(tmp_path, "is not a safetensors index")


def test_random_weights_follow_hugging_face():
    source = sources.from_seed("gpt2", 3)
    assert source.origin == "random-init:gpt2:seed=3"
    assert source.config == PRESETS["gpt2"]

    def read(name: str) -> np.ndarray:
        return source.weights.read(name, (512, 256))

    assert read("transformer.wte.weight").std() == pytest.approx(0.02, rel=0.02)
    for name in ("attn", "mlp"):
        residual = read(f"transformer.h.0.{name}.c_proj.weight").std()
        assert residual == pytest.approx(0.02 / np.sqrt(24), rel=0.02)
    assert (read("transformer.h.0.ln_1.weight") == 1).all()
    assert (read("transformer.ln_f.weight") == 1).all()
    assert (read("transformer.h.0.ln_1.bias") == 0).all()
    assert (read("transformer.h.0.attn.c_attn.bias") == 0).all()


def test_random_weights_depend_on_seed_and_name_alone():
    one, same, other = (sources.from_seed("gpt2", seed).weights for seed in (1, 1, 2))
    one.read("transformer.wpe.weight", (9, 9))  # what was read before doesn't matter
    first = one.read("transformer.wte.weight", (9, 9))
    np.testing.assert_array_equal(first, same.read("transformer.wte.weight", (9, 9)))
    assert (first != other.read("transformer.wte.weight", (9, 9))).any()
    assert (first != one.read("transformer.wpe.weight", (9, 9))).any()


def test_random_weights_of_a_config_file(tmp_path: Path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(checkpoints.SMALL))
    assert sources.from_seed(str(path), 0).config.vocab_size == 61
    assert sources.from_seed(str(path), 0).origin == "random-init:small:seed=0"


def test_no_such_architecture():
    with pytest.raises(ExportError, match=r"no such architecture or file: 'gpt3'.*gpt2-medium"):
        sources.from_seed("gpt3", 0)


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "../gpt2"])
def test_no_such_directory_is_not_looked_for_on_the_hub(model: str):
    with pytest.raises(ExportError, match="no such directory"):
        sources.from_checkpoint(model)
