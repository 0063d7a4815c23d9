"""Weights of checkpoints: found by name, checked, or refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import checkpoints
import ml_dtypes
import numpy as np
import pytest
import reference_gpt2
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import save_file

from kvcache_export import model, sources
from kvcache_export.errors import ExportError
from kvcache_export.precision import Precision

C_ATTN = "transformer.h.1.attn.c_attn.weight"
WTE = "transformer.wte.weight"
LM_HEAD = "lm_head.weight"
TENSORS = checkpoints.weights(checkpoints.SMALL)
HEAD = checkpoints.weights({**checkpoints.SMALL, "tie_word_embeddings": False}, seed=7)[LM_HEAD]


def export_source(directory: Path) -> sources.Source:
    """The source, its tensors checked as an export does."""
    source = sources.from_checkpoint(str(directory))
    model.with_weights(source, Precision("float32", "float32"))
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


def assert_reads(directory: Path, tensors: dict[str, np.ndarray]) -> None:
    source = export_source(directory)
    for name, value in tensors.items():
        np.testing.assert_array_equal(source.weights.read(name, value.shape), value)


def write(directory: Path, changes: dict[str, np.ndarray | None], **fields: object) -> Path:
    """A checkpoint of TENSORS with some changed, added or, where None, left out."""
    tensors = {n: value for n, value in {**TENSORS, **changes}.items() if value is not None}
    return checkpoints.write(directory, {**checkpoints.SMALL, **fields}, tensors)


def test_names_with_and_without_prefix_and_mask_buffers(tmp_path: Path):
    bare = {name.removeprefix("transformer."): value for name, value in TENSORS.items()}
    bare["h.0.attn.bias"] = np.tri(32, dtype=np.float32)[None, None]
    bare["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    bare[LM_HEAD] = TENSORS[WTE]  # tied, and saved all the same
    assert_reads(checkpoints.write(tmp_path, checkpoints.SMALL, bare), TENSORS)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("bare", [True, False])
def test_names_of_wrapped_modules(tmp_path: Path, prefix: str, bare: bool):
    wrapped = {
        prefix + (name.removeprefix("transformer.") if bare else name): value
        for name, value in TENSORS.items()
    }
    assert_reads(checkpoints.write(tmp_path, checkpoints.SMALL, wrapped), TENSORS)


def test_names_of_wrapped_blocks(tmp_path: Path):
    wrapped = {name.replace(".h.1.", ".h.1._orig_mod."): value for name, value in TENSORS.items()}
    assert_reads(checkpoints.write(tmp_path, checkpoints.SMALL, wrapped), TENSORS)


def test_shards(tmp_path: Path):
    shards(write(tmp_path, {}), TENSORS)
    assert_reads(tmp_path, TENSORS)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_element_types_are_read(tmp_path: Path, dtype: type):
    tensors = {name: value.astype(dtype) for name, value in TENSORS.items()}
    assert_reads(checkpoints.write(tmp_path, checkpoints.SMALL, tensors), tensors)


def test_origin_is_the_name_of_the_directory(tmp_path: Path):
    assert export_source(checkpoints.write_random(tmp_path / "my-gpt2")).origin == "my-gpt2"


def refuse(directory: Path, *parts: str) -> None:
    with pytest.raises(ExportError) as error:
        export_source(directory)
    for part in (*parts, str(directory)):
        assert part in str(error.value)


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
        model = export("--model", write(tmp_path, {LM_HEAD: HEAD}))
        tensors = {**TENSORS, LM_HEAD: HEAD}
        assert is_as_the_oracle(model, tensors, tied=False)
        assert not is_as_the_oracle(model, tensors, tied=True)
        assert "\nNote: lm_head.weight differs from the token embedding" in capsys.readouterr().out

    def test_one_value_that_differs_counts(self, tmp_path: Path):
        head = TENSORS[WTE].copy()
        head[60, 23] = np.nextafter(head[60, 23], np.float32(9))
        source = export_source(write(tmp_path, {LM_HEAD: head}))
        assert not source.spec.head.tied
        np.testing.assert_array_equal(source.weights.read(LM_HEAD, head.shape), head)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_same_values_are_the_embedding(self, tmp_path: Path, export, capsys, dtype: type):
        model = export("--model", write(tmp_path, {LM_HEAD: TENSORS[WTE].astype(dtype)}))
        assert is_as_the_oracle(model, TENSORS, tied=True)
        assert "Note" not in capsys.readouterr().out

    def test_alone_it_is_the_embedding_too(self, tmp_path: Path, export):
        model = export("--model", write(tmp_path, {LM_HEAD: TENSORS[WTE], WTE: None}))
        assert is_as_the_oracle(model, TENSORS, tied=True)


OTHER_NAME = C_ATTN.removeprefix("transformer.")


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ({C_ATTN: None}, {}, f"missing tensor {C_ATTN!r}"),
        (
            {C_ATTN: np.ones((72, 24))},
            {},
            f"tensor {C_ATTN!r} has shape [72, 24], expected [24, 72]",
        ),
        ({C_ATTN: np.ones((24, 72), np.int8)}, {}, f"tensor {C_ATTN!r} has element type I8"),
        ({LM_HEAD: HEAD[1:]}, {}, f"tensor {LM_HEAD!r} has shape [60, 24], expected [61, 24]"),
        ({LM_HEAD: HEAD.astype(np.int8)}, {}, f"tensor {LM_HEAD!r} has element type I8"),
        ({}, {"tie_word_embeddings": False}, f"missing tensor {LM_HEAD!r}"),
        (
            {LM_HEAD: HEAD, WTE: None},
            {"tie_word_embeddings": False},
            f"missing tensor {WTE!r}",
        ),
        (
            {OTHER_NAME: -TENSORS[C_ATTN]},
            {},
            f"tensors {OTHER_NAME!r} and {C_ATTN!r} are both {C_ATTN!r} and differ",
        ),
        (
            checkpoints.weights({**checkpoints.SMALL, "n_layer": 3}),
            {},
            "unexpected tensor 'transformer.h.2.",
        ),
    ],
)
def test_tensors_that_are_not_those_of_the_config(
    tmp_path: Path, changes: dict, fields: dict, message: str
):
    refuse(write(tmp_path, changes, **fields), message)


def test_two_names_of_one_tensor(tmp_path: Path):
    assert_reads(write(tmp_path, {OTHER_NAME: TENSORS[C_ATTN]}), TENSORS)


UNEXPECTED = {
    ("its config has no place for it", "without it"): [
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
    ("it is an adapter's", "merge_and_unload()"): [
        "transformer.h.0.attn.c_attn.lora_A.default.weight",
        "base_model.model.transformer.h.0.attn.c_attn.base_layer.weight",
        "transformer.h.0.adapter.down.weight",
        "lm_head.modules_to_save.default.weight",
        "transformer.h.0.mlp.c_proj.ia3_l",
    ],
    ("the checkpoint is quantised",): ["transformer.h.0.attn.c_attn.weight.absmax"],
}


@pytest.mark.parametrize(
    ("key", "parts"), [(key, parts) for parts, keys in UNEXPECTED.items() for key in keys]
)
def test_a_tensor_that_does_not_belong_is_refused_by_name(
    tmp_path: Path, key: str, parts: tuple[str, ...]
):
    reason, *more = parts
    directory = write(tmp_path, {key: np.ones(61, np.float32)})
    refuse(directory, f"unexpected tensor {key!r}: {reason}", *more)


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
    assert_reads(write(tmp_path, {key: np.ones(5, np.float32)}), TENSORS)


def test_an_adapter_alone_is_to_be_merged(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text("{}")
    refuse(tmp_path, "holds an adapter (adapter_config.json)", "merge_and_unload()")


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda weights: weights.unlink(), ["no model.safetensors"]),
        (
            lambda weights: weights.rename(weights.with_name("pytorch_model.bin")),
            ["pytorch_model.bin only", "save_pretrained"],
        ),
        (cut_off, ["cannot read {}/model.safetensors"]),
        (
            lambda weights: weights.with_name("adapter_config.json").write_text("{}"),
            ["holds an adapter (adapter_config.json)", "merge_and_unload()"],
        ),
    ],
    ids=["missing", "torch only", "cut off", "beside an adapter"],
)
def test_files_that_are_no_checkpoint(tmp_path: Path, change, parts: list[str]):
    change(write(tmp_path, {}) / "model.safetensors")
    refuse(tmp_path, *(part.format(tmp_path) for part in parts))


def change_index(directory: Path, change) -> None:
    index = directory / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))


@pytest.mark.parametrize("named", [0, 1])
def test_a_tensor_of_two_shards_is_that_of_the_shard_that_the_index_names(
    tmp_path: Path, named: int
):
    shards(write(tmp_path, {}), TENSORS)
    for i in range(2):
        part = {n: v for j, (n, v) in enumerate(sorted(TENSORS.items())) if j % 2 == i}
        part[C_ATTN] = np.full((24, 72), i, np.float32)
        save_file(part, tmp_path / f"part-{i}.safetensors")
    change_index(tmp_path, lambda shards: shards.update({C_ATTN: f"part-{named}.safetensors"}))
    source = export_source(tmp_path)
    np.testing.assert_array_equal(source.weights.read(C_ATTN, (24, 72)), np.full((24, 72), named))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda directory: (directory / "part-1.safetensors").unlink(),
            ["cannot read", "part-1.safetensors: No such file or directory"],
        ),
        (
            lambda directory: change_index(
                directory, lambda shards: shards.update(nowhere="part-1.safetensors")
            ),
            ["says that tensor 'nowhere' is in part-1.safetensors, which lacks it"],
        ),
        (
            lambda directory: change_index(directory, lambda shards: shards.pop(C_ATTN)),
            [f"holds tensor {C_ATTN!r}, which model.safetensors.index.json does not name"],
        ),
    ],
    ids=["a shard is missing", "a shard lacks a tensor", "the index lacks a tensor"],
)
def test_shards_and_index_that_differ(tmp_path: Path, change, parts: list[str]):
    shards(write(tmp_path, {}), TENSORS)
    change(tmp_path)
    refuse(tmp_path, *parts)


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
def test_no_such_directory_is_not_looked_for_on_the_hub(model: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what lies beside the clone may have such a name
    with pytest.raises(ExportError, match="no such directory"):
        sources.from_checkpoint(model)
