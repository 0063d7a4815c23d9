"""The graph is the one of docs/MODEL_FILE.md, and every shape of its inputs works."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest
import reference_gpt2
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import load_file

from kvcache_export import families

LAYERS, HEADS, HEAD_DIM, VOCAB = 2, 2, 12, 61

OPTIONAL_INPUTS = {
    "block_table": ("tensor(int32)", ["rows", "blocks_per_row"]),
    "past_lengths": ("tensor(int32)", ["rows"]),
    "append_positions": ("tensor(int32)", ["rows"]),
    "row_offsets": ("tensor(int32)", ["rows_plus_1"]),
    "tree_parents": ("tensor(int32)", ["tree_tokens"]),
    "logits_positions": ("tensor(int64)", ["num_logits"]),
}


@pytest.fixture(scope="module")
def proto(small_model_dir: Path) -> onnx.ModelProto:
    return onnx.load(small_model_dir / "gpt2_with_cache.onnx", load_external_data=False)


def per_layer(prefix: str, shape: list) -> list[tuple]:
    return [
        (f"{prefix}_{part}_{layer}", "tensor(float)", shape)
        for layer in range(LAYERS)
        for part in ("key", "value")
    ]


def test_inputs_and_outputs(small_model: PlainModel):
    inputs = [(i.name, i.type, i.shape) for i in small_model.session.get_inputs()]
    assert inputs == [
        ("input_ids", "tensor(int64)", ["batch", "seq_len"]),
        ("position_ids", "tensor(int64)", ["batch", "seq_len"]),
        *per_layer("past", ["batch", HEADS, "past_len", HEAD_DIM]),
    ]
    outputs = [(o.name, o.type, o.shape) for o in small_model.session.get_outputs()]
    assert outputs == [
        ("logits", "tensor(float)", ["batch", "seq_len", VOCAB]),
        *per_layer("present", ["batch", HEADS, "total_len", HEAD_DIM]),
    ]


def test_optional_inputs_follow_and_default_to_empty(
    small_model: PlainModel, proto: onnx.ModelProto
):
    overridable = small_model.session.get_overridable_initializers()
    assert {i.name: (i.type, i.shape) for i in overridable} == OPTIONAL_INPUTS
    assert [i.name for i in proto.graph.input][-len(OPTIONAL_INPUTS) :] == list(OPTIONAL_INPUTS)
    defaults = {i.name: list(i.dims) for i in proto.graph.initializer if i.name in OPTIONAL_INPUTS}
    assert defaults == {name: [0] * len(shape) for name, (_, shape) in OPTIONAL_INPUTS.items()}


def test_one_attention_node_a_layer_with_its_attributes(proto: onnx.ModelProto):
    nodes = [node for node in proto.graph.node if node.op_type == "CachedAttention"]
    assert [node.domain for node in nodes] == ["kvcache"] * LAYERS
    for layer, node in enumerate(nodes):
        assert node.input[1:] == [
            f"past_key_{layer}",
            f"past_value_{layer}",
            *list(OPTIONAL_INPUTS)[:5],
        ]
        assert node.output[1:] == [f"present_key_{layer}", f"present_value_{layer}"]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes == {
            "num_heads": HEADS,
            "num_kv_heads": HEADS,
            "scale": pytest.approx(HEAD_DIM**-0.5),
        }


def test_opsets(proto: onnx.ModelProto):
    opsets = {opset.domain: opset.version for opset in proto.opset_import}
    assert opsets == {"": 21, "kvcache": 2}


LAYER = {
    "attention.qkv": "Linear",
    "attention": "CachedAttention",
    "attention.output": "Linear",
    "mlp.up": "Linear",
    "mlp.down": "Linear",
}


def test_a_node_a_role_by_its_name(proto: onnx.ModelProto):
    assert [(node.name, node.op_type, node.domain) for node in proto.graph.node] == [
        ("embedding", "Embedding", "kvcache"),
        *(
            (f"layers.{layer}.{role}", op_type, "kvcache")
            for layer in range(LAYERS)
            for role, op_type in LAYER.items()
        ),
        ("head", "Head", "kvcache"),
    ]


def test_inputs_have_fixed_places(proto: onnx.ModelProto):
    nodes = {node.name: node for node in proto.graph.node}
    layer = "layers.1.mlp"
    norm = [f"{layer}.norm.weight", f"{layer}.norm.bias"]
    x = nodes["layers.1.attention.output"].output[0]
    up, down = nodes[f"{layer}.up"], nodes[f"{layer}.down"]
    assert up.input == [x, f"{layer}.up.weight", "", f"{layer}.up.bias", *norm]
    assert down.input == [
        *(up.output[0], f"{layer}.down.weight", "", f"{layer}.down.bias", "", "", x)
    ]
    assert nodes["head"].input == [
        *(down.output[0], "embedding.tokens.weight", "", ""),
        *("final_norm.weight", "final_norm.bias", "logits_positions"),
    ]
    assert nodes["embedding"].input == [
        *("input_ids", "position_ids", "embedding.tokens.weight", ""),
        "embedding.positions.weight",
    ]


def test_attributes_say_what_a_node_is(proto: onnx.ModelProto):
    found = {
        node.name: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for node in proto.graph.node
    }
    norm = {"norm": b"layer_norm", "epsilon": pytest.approx(1e-5)}
    assert found["embedding"] == {}
    assert found["layers.0.attention.qkv"] == {"outputs": 72, **norm}
    assert found["layers.0.attention.output"] == {"outputs": 24}
    assert found["layers.0.mlp.up"] == {"outputs": 96, "activation": b"gelu_tanh", **norm}
    assert found["head"] == {"outputs": VOCAB, **norm}


def test_an_overload_for_each_combination(proto: onnx.ModelProto):
    functions = {(f.domain, f.name, f.overload) for f in proto.functions}
    used = {(node.domain, node.op_type, node.overload) for node in proto.graph.node}
    assert functions == used | {("kvcache", "SelectTokens", "")}
    assert len([name for _, name, _ in functions if name == "Linear"]) == 3


def test_an_activation_without_a_kernel_is_a_node(tmp_path: Path, export):
    directory = checkpoints.write_random(tmp_path, activation_function="relu")
    proto = onnx.load(export("--model", directory) / "gpt2_with_cache.onnx")
    names = [node.name for node in proto.graph.node]
    at = names.index("layers.0.mlp.activation")
    assert names[at - 1 : at + 2 : 2] == ["layers.0.mlp.up", "layers.0.mlp.down"]
    up, node = proto.graph.node[at - 1 : at + 1]
    assert (node.op_type, node.overload, node.attribute[0].s) == ("Activation", "relu", b"relu")
    assert "activation" not in {attribute.name for attribute in up.attribute}


def test_tokens_are_selected_before_the_final_norm(proto: onnx.ModelProto):
    head = next(function for function in proto.functions if function.name == "Head")
    types = [node.op_type for node in head.node if node.op_type != "Constant"]
    assert types[:2] == ["SelectTokens", "LayerNormalization"]


def test_parameters_have_the_names_of_their_roles(proto: onnx.ModelProto, small_checkpoint: Path):
    spec = families.read_config(small_checkpoint / "config.json")[1].spec
    names = [tensor.name for tensor in proto.graph.initializer]
    assert names == [*OPTIONAL_INPUTS, *spec.parameters()]


@pytest.mark.parametrize(("tied", "tables"), [(True, 1), (False, 2)])
def test_tied_embedding_is_stored_once(tmp_path: Path, export, tied: bool, tables: int):
    """By the size of the files, which a vocabulary of 20,000 dominates."""
    directory = checkpoints.write_random(
        tmp_path, vocab_size=20_000, n_embd=32, n_layer=1, tie_word_embeddings=tied
    )
    model = export("--model", directory)
    size = sum(path.stat().st_size for path in model.glob("gpt2_with_cache.onnx*"))
    table = 20_000 * 32 * 4
    assert tables * table < size < (tables + 0.2) * table


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("seq_len", [0, 1, 5])
@pytest.mark.parametrize("past_len", [0, 1, 7])
def test_every_axis_takes_none_one_and_many(
    small_model: PlainModel, batch: int, seq_len: int, past_len: int
):
    logits, presents = small_model.run(
        np.ones((batch, seq_len), np.int64), small_model.past(batch, past_len)
    )
    assert logits.shape == (batch, seq_len, VOCAB)
    assert {p.shape for p in presents} == {(batch, HEADS, past_len + seq_len, HEAD_DIM)}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tie_word_embeddings": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"n_inner": 17, "n_layer": 1, "layer_norm_epsilon": 0.1},
        {"n_embd": 20, "n_head": 1},
        {"n_embd": 20, "n_head": 20},
        {"n_positions": 21, "vocab_size": 1},
    ],
    ids=str,
)
def test_logits_agree_with_the_reference(tmp_path: Path, export, fields: dict):
    directory = checkpoints.write_random(tmp_path, **fields)
    config = {**checkpoints.SMALL, **fields}
    ids = np.random.default_rng(0).integers(config["vocab_size"], size=20)

    logits, _ = PlainModel(export("--model", directory)).run(ids[None])

    weights = load_file(directory / "model.safetensors")
    assert (
        relative_difference(logits[0], reference_gpt2.logits(config, weights, ids.tolist())) < 1e-5
    )


@pytest.mark.parametrize("seed", range(8))
class TestProperties:
    """What holds for any prompt; a failure names its seed."""

    def test_any_split_gives_the_same_logits(self, small_model: PlainModel, seed: int):
        generator = np.random.default_rng(seed)
        ids = generator.integers(VOCAB, size=(2, 24))
        whole, presents = small_model.run(ids)
        cuts = np.sort(generator.choice(25, size=generator.integers(1, 6)))  # empty steps, too

        past, parts = None, []
        for step in np.split(ids, cuts, axis=1):
            logits, past = small_model.run(step, past)
            parts.append(logits)

        assert relative_difference(np.concatenate(parts, axis=1), whole) < 1e-5
        for found, expected in zip(past, presents, strict=True):
            assert relative_difference(found, expected) < 1e-5

    def test_a_batch_row_equals_it_alone(self, small_model: PlainModel, seed: int):
        ids = np.random.default_rng(seed).integers(VOCAB, size=(4, 6))
        past = small_model.past(4, length=seed, seed=seed)
        together, _ = small_model.run(ids, past)
        for row in range(4):
            alone, _ = small_model.run(ids[row : row + 1], [p[row : row + 1] for p in past])
            assert relative_difference(alone[0], together[row]) < 1e-5

    def test_a_token_does_not_see_what_follows(self, small_model: PlainModel, seed: int):
        ids = np.random.default_rng(seed).integers(VOCAB, size=(1, 10))
        changed = ids.copy()
        changed[0, 5:] = (changed[0, 5:] + 1) % VOCAB
        before, after = (small_model.run(x)[0][0] for x in (ids, changed))
        assert relative_difference(after[:5], before[:5]) < 1e-6
        assert relative_difference(after[5:], before[5:]) > 1e-2

    def test_logits_positions_is_indexing(self, small_model: PlainModel, seed: int):
        generator = np.random.default_rng(seed)
        ids = generator.integers(VOCAB, size=(2, 9))
        positions = generator.integers(-9, 9, size=generator.integers(1, 12))
        everything, presents = small_model.run(ids)
        selected, same_presents = small_model.run(ids, logits_positions=positions)
        assert relative_difference(selected, everything[:, positions]) < 1e-5
        for found, expected in zip(same_presents, presents, strict=True):
            np.testing.assert_array_equal(found, expected)
