"""config.json says what docs/MODEL_FILE.md promises."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest
import xxhash

from kvcache_export import families
from kvcache_export.families import gpt2
from kvcache_export.manifest import weight_bytes_per_token
from kvcache_export.precision import Precision


def config_of(model_dir: Path) -> dict:
    return json.loads((model_dir / "config.json").read_text())


def test_fields(small_model_dir: Path, small_checkpoint: Path):
    config = config_of(small_model_dir)
    assert [(file["name"], file["role"]) for file in config.pop("files")] == [
        ("gpt2_with_cache.onnx", "graph"),
        ("gpt2_with_cache.onnx.data", "weights"),
    ]
    assert config.pop("weight_bytes_per_token")
    assert config.pop("verification").keys() == {"cached_vs_uncached_max_abs_diff", "max_abs_logit"}
    assert config == {
        "format": "kvcache",
        "format_version": 2,
        "variant": "cached_attention",
        "model_type": "gpt2",
        "source": small_checkpoint.name,
        "spec": families.read_config(small_checkpoint / "config.json")[1].spec.to_json(),
        "outputs": [{"name": "logits", "shape": ["tokens", "vocab_size"], "tokens": "selected"}],
        "dtype": "float32",
        "cache_dtype": "float32",
        "weights": "float32",
        "activations": "float32",
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "stop_token_ids": [],
        "model_file": "gpt2_with_cache.onnx",
    }


def test_token_ids_of_the_vocabulary(export, tmp_path: Path):
    config = config_of(
        export("--model", checkpoints.write_random(tmp_path, bos_token_id=3, eos_token_id=4))
    )
    assert (config["bos_token_id"], config["eos_token_id"]) == (3, 4)
    assert (config["pad_token_id"], config["stop_token_ids"]) == (None, [4])


def test_of_several_end_tokens_the_first_and_all(export, tmp_path: Path):
    config = config_of(export("--model", checkpoints.write_random(tmp_path, eos_token_id=[9, 4])))
    assert (config["eos_token_id"], config["stop_token_ids"]) == (9, [9, 4])


@pytest.mark.parametrize("option", [[], ["--single-file"]])
def test_every_file_has_its_size_and_digest(export, small_checkpoint: Path, option: list[str]):
    model = export("--model", small_checkpoint, *option)
    files = config_of(model)["files"]
    assert {file["name"] for file in files} == {
        path.name for path in model.iterdir() if path.name != "config.json"
    }
    for file in files:
        content = (model / file["name"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["xxh3_128"] == xxhash.xxh3_128_hexdigest(content)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_weight_bytes_per_token(export, tmp_path: Path, dtype: str, tied: bool):
    directory = checkpoints.write_random(tmp_path, n_inner=50, tie_word_embeddings=tied)
    config = {**checkpoints.SMALL, "n_inner": 50, "tie_word_embeddings": tied}
    weights = checkpoints.weights(config)
    row = config["n_embd"]
    expected = sum(weight.size for weight in weights.values())
    expected += row - weights["transformer.wpe.weight"].size
    if not tied:
        expected += row - weights["transformer.wte.weight"].size

    found = config_of(export("--model", directory, "--dtype", dtype))["weight_bytes_per_token"]

    assert found == expected * (4 if dtype == "float32" else 2)


def test_weight_bytes_per_token_of_gpt2():
    read = 124_439_808 - 1023 * 768  # all parameters, but one position only

    def found(dtype: str, weights: str) -> int:
        spec, precision = gpt2.parse({}).spec, Precision(dtype, weights)
        types = precision.of_matrices(dict.fromkeys(spec.matrices(), ()))
        return weight_bytes_per_token(spec, precision, types)

    assert found("float32", "float32") == 4 * read
    assert found("float16", "float16") == 2 * read
    others = 12 * (2304 + 768 + 3072 + 768 + 4 * 768) + 2 * 768 + 768
    assert found("float32", "bfloat16") == 2 * read + 2 * others


@pytest.mark.parametrize("weights", ["float16", "bfloat16"])
def test_what_rounding_costs_is_written(export, small_checkpoint: Path, weights: str):
    config = config_of(export("--model", small_checkpoint, "--weights", weights))
    assert (config["dtype"], config["weights"]) == ("float32", weights)
    rounding = config["rounding"]
    assert rounding["tokens"] == 512
    assert 0 < rounding["mean_abs_logit_diff"] < rounding["max_abs_logit_diff"]
    assert rounding["max_abs_logit_diff"] < 0.1 * rounding["max_abs_logit"]
    assert 0 < rounding["mean_kl_divergence"] < 1e-2
    assert 0.9 < rounding["top1_agreement"] <= 1


@pytest.mark.parametrize("cache_dtype", ["float16", "bfloat16", "int8"])
def test_what_a_narrow_cache_costs_is_written(
    export, small_checkpoint: Path, cache_dtype: str, capsys: pytest.CaptureFixture
):
    """Apart from what the weights cost, which are narrower too."""
    options = ("--model", small_checkpoint, "--weights", "float16")
    config = config_of(export(*options, "--cache-dtype", cache_dtype))
    assert f"Keys and values in {cache_dtype}, against float32: top-1" in capsys.readouterr().out
    assert (config["dtype"], config["cache_dtype"]) == ("float32", cache_dtype)
    assert config["rounding"] == config_of(export(*options))["rounding"]
    cost = config["cache_rounding"]
    assert cost["tokens"] == 512
    assert 0 < cost["mean_abs_logit_diff"] < cost["max_abs_logit_diff"]
    assert cost["max_abs_logit_diff"] < 0.1 * cost["max_abs_logit"]
    assert 0 < cost["mean_kl_divergence"] < 1e-2
