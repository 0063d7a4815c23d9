"""Weights of checkpoints: found by name, checked, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import ml_dtypes
import numpy as np
import pytest
import reference_gpt2
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import save_file

from kvcache_export import sources
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


HEAD = checkpoints.weights({**checkpoints.SMALL, "tie_word_embeddings": False}, seed=7)[
    "lm_head.weight"
]
PROMPT = [1, 2, 3, 60, 5]


def is_as_the_oracle(model: Path, tensors: dict[str, np.ndarray], *, tied: bool) -> bool:
    """Whether the exported model computes a float64 GPT-2's logits with these tensors."""
    config = {**checkpoints.SMALL, "tie_word_embeddings": tied}
    expected = reference_gpt2.logits(config, tensors, PROMPT)
    found = PlainModel(model).run(np.array([PROMPT]))[0][0]
    return relative_difference(found, expected) < 1e-5


class TestHead:
    """config.json says that the head is tied to the token embedding."""

    def test_one_that_differs_counts(self, tmp_path: Path, export, capsys):
        tensors = {**checkpoints.weights(checkpoints.SMALL), "lm_head.weight": HEAD}
        model = export("--model", checkpoints.write(tmp_path, checkpoints.SMALL, tensors))
        assert is_as_the_oracle(model, tensors, tied=False)
        assert not is_as_the_oracle(model, tensors, tied=True)
        assert "\nNote: lm_head.weight differs from the token embedding" in capsys.readouterr().out

    def test_one_value_that_differs_counts(self, tmp_path: Path):
        tensors = checkpoints.weights(checkpoints.SMALL)
        head = tensors["transformer.wte.weight"].copy()
        head[60, 23] = np.nextafter(head[60, 23], np.float32(9))
        checkpoints.write(tmp_path, checkpoints.SMALL, {**tensors, "lm_head.weight": head})
        source = export_source(tmp_path)
        assert not source.config.tie_word_embeddings
        np.testing.assert_array_equal(source.weights.read("lm_head.weight", head.shape), head)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_same_values_are_the_embedding(self, tmp_path: Path, export, capsys, dtype: type):
        tensors = checkpoints.weights(checkpoints.SMALL)
        head = tensors["transformer.wte.weight"].astype(dtype)
        stored = {**tensors, "lm_head.weight": head}
        model = export("--model", checkpoints.write(tmp_path, checkpoints.SMALL, stored))
        assert is_as_the_oracle(model, tensors, tied=True)
        assert "Note" not in capsys.readouterr().out

    def test_alone_it_is_the_embedding_too(self, tmp_path: Path, export):
        tensors = checkpoints.weights(checkpoints.SMALL)
        stored = dict(tensors)
        stored["lm_head.weight"] = stored.pop("transformer.wte.weight")
        model = export("--model", checkpoints.write(tmp_path, checkpoints.SMALL, stored))
        assert is_as_the_oracle(model, tensors, tied=True)

    def test_alone_and_untied_the_embedding_is_missing(self, tmp_path: Path):
        tensors = {**checkpoints.weights(checkpoints.SMALL), "lm_head.weight": HEAD}
        del tensors["transformer.wte.weight"]
        config = {**checkpoints.SMALL, "tie_word_embeddings": False}
        refuse(
            checkpoints.write(tmp_path, config, tensors), "missing tensor 'transformer.wte.weight'"
        )

    def test_of_another_shape_is_refused(self, tmp_path: Path):
        tensors = {**checkpoints.weights(checkpoints.SMALL), "lm_head.weight": HEAD[1:]}
        checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
        refuse(tmp_path, "tensor 'lm_head.weight' has shape [60, 24], expected [61, 24]")

    def test_of_integers_is_refused(self, tmp_path: Path):
        tensors = {**checkpoints.weights(checkpoints.SMALL), "lm_head.weight": HEAD.astype(np.int8)}
        checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
        refuse(tmp_path, "tensor 'lm_head.weight' has element type I8")


@pytest.mark.parametrize(
    "key",
    [
        "lm_head.bias",
        "transformer.ln_e.weight",
        "transformer.wte.bias",
        "transformer.h.0.attn.rotary_emb.inv_freq",
        "transformer.h.0.crossattention.c_attn.weight",
        "transformer.h.0.mlp.attn.bias",
        "transformer.h.x.attn.bias",
        "transformer.attn.bias",
        "scores.weight",
        "decoder.weight",
        "bias",
        "",
        ".",
        "module",
    ],
)
def test_a_tensor_nobody_knows_is_refused_by_name(tmp_path: Path, key: str):
    tensors = {**checkpoints.weights(checkpoints.SMALL), key: np.ones(61, np.float32)}
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(tmp_path, f"unexpected tensor {key!r}: its config has no place for it", "without it")


@pytest.mark.parametrize(
    "key",
    [
        "transformer.h.0.attn.c_attn.lora_A.default.weight",
        "base_model.model.transformer.h.0.attn.c_attn.base_layer.weight",
        "transformer.h.0.adapter.down.weight",
        "lm_head.modules_to_save.default.weight",
        "transformer.h.0.mlp.c_proj.ia3_l",
    ],
)
def test_an_adapter_is_to_be_merged(tmp_path: Path, key: str):
    tensors = {**checkpoints.weights(checkpoints.SMALL), key: np.ones(61, np.float32)}
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(tmp_path, f"unexpected tensor {key!r}: it is an adapter's", "merge_and_unload()")


def test_an_adapter_beside_the_model_is_to_be_merged(tmp_path: Path):
    (checkpoints.write_random(tmp_path) / "adapter_config.json").write_text("{}")
    refuse(tmp_path, "holds an adapter (adapter_config.json)", "merge_and_unload()")


def test_an_adapter_alone_is_to_be_merged(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text("{}")
    refuse(tmp_path, "holds an adapter (adapter_config.json)", "merge_and_unload()")


def test_a_quantised_checkpoint_is_refused(tmp_path: Path):
    key = "transformer.h.0.attn.c_attn.weight.absmax"
    tensors = {**checkpoints.weights(checkpoints.SMALL), key: np.ones(61, np.float32)}
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(tmp_path, f"unexpected tensor {key!r}: the checkpoint is quantised")


@pytest.mark.parametrize(
    "key",
    [
        "multiple_choice_head.summary.weight",
        "score.weight",
        "classifier.bias",
        "qa_outputs.weight",
        "v_head.summary.bias",
        "transformer.h.1.attn.masked_bias",
        "module.h.1.attn.bias",
    ],
)
def test_heads_and_buffers_that_change_no_logit_are_left_out(tmp_path: Path, key: str):
    tensors = {**checkpoints.weights(checkpoints.SMALL), key: np.ones(5, np.float32)}
    export_source(checkpoints.write(tmp_path, checkpoints.SMALL, tensors))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("bare", [True, False])
def test_names_of_wrapped_modules(tmp_path: Path, prefix: str, bare: bool):
    tensors = checkpoints.weights(checkpoints.SMALL)
    wrapped = {
        prefix + (name.removeprefix("transformer.") if bare else name): value
        for name, value in tensors.items()
    }
    source = export_source(checkpoints.write(tmp_path, checkpoints.SMALL, wrapped))
    for name, value in tensors.items():
        np.testing.assert_array_equal(source.weights.read(name, value.shape), value)


def test_names_of_wrapped_blocks(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    wrapped = {name.replace(".h.1.", ".h.1._orig_mod."): value for name, value in tensors.items()}
    source = export_source(checkpoints.write(tmp_path, checkpoints.SMALL, wrapped))
    np.testing.assert_array_equal(source.weights.read(C_ATTN, (24, 72)), tensors[C_ATTN])


def test_two_names_of_one_tensor(tmp_path: Path):
    tensors = checkpoints.weights(checkpoints.SMALL)
    other = C_ATTN.removeprefix("transformer.")
    checkpoints.write(tmp_path, checkpoints.SMALL, {**tensors, other: tensors[C_ATTN]})
    export_source(tmp_path)
    checkpoints.write(tmp_path, checkpoints.SMALL, {**tensors, other: -tensors[C_ATTN]})
    refuse(tmp_path, f"tensors {other!r} and {C_ATTN!r}", "differ")


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


def sharded(directory: Path) -> dict[str, np.ndarray]:
    tensors = checkpoints.weights(checkpoints.SMALL)
    shards(checkpoints.write(directory, checkpoints.SMALL, tensors), tensors)
    return tensors


def change_index(directory: Path, change) -> None:
    index = directory / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))


def test_missing_shard(tmp_path: Path):
    sharded(tmp_path)
    (tmp_path / "part-1.safetensors").unlink()
    refuse(tmp_path, "cannot read", "part-1.safetensors: No such file or directory")


@pytest.mark.parametrize("named", [0, 1])
def test_a_tensor_of_two_shards_is_that_of_the_shard_that_the_index_names(
    tmp_path: Path, named: int
):
    tensors = sharded(tmp_path)
    for i in range(2):
        part = {n: v for j, (n, v) in enumerate(sorted(tensors.items())) if j % 2 == i}
        part[C_ATTN] = np.full((24, 72), i, np.float32)
        save_file(part, tmp_path / f"part-{i}.safetensors")
    change_index(tmp_path, lambda shards: shards.update({C_ATTN: f"part-{named}.safetensors"}))
    source = export_source(tmp_path)
    np.testing.assert_array_equal(source.weights.read(C_ATTN, (24, 72)), np.full((24, 72), named))


def test_a_shard_that_lacks_what_the_index_names(tmp_path: Path):
    sharded(tmp_path)
    change_index(tmp_path, lambda shards: shards.update(nowhere="part-1.safetensors"))
    refuse(tmp_path, "says that tensor 'nowhere' is in part-1.safetensors, which lacks it")


def test_a_tensor_that_the_index_does_not_name(tmp_path: Path):
    sharded(tmp_path)
    change_index(tmp_path, lambda shards: shards.pop(C_ATTN))
    refuse(tmp_path, f"holds tensor {C_ATTN!r}, which model.safetensors.index.json does not name")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        "[]",
        "[" * 100_000,
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": []}}',
        '{"weight_map": {"a": 5}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {"a": "../model.safetensors"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": "a\\u0000b"}}',
        '{"weight_map": {"a": "\\ud800"}}',
        '{"weight_map": {"a": "x", "a": "y"}}',
    ],
)
def test_damaged_index(tmp_path: Path, content: str):
    checkpoints.write_random(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(content)
    refuse(tmp_path, "is not a safetensors index")


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "../gpt2"])
def test_no_such_directory_is_not_looked_for_on_the_hub(model: str):
    with pytest.raises(ExportError, match="no such directory"):
        sources.from_checkpoint(model)
