"""Value heads of checkpoints: what is honoured, what is refused by which name, what is computed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import reference_gpt2
from plain_ort import PlainModel

from kvcache_export import model, sources, value_heads
from kvcache_export.errors import ExportError
from kvcache_export.precision import Precision
from kvcache_export.spec import Norm, ValueHead

HIDDEN = checkpoints.SMALL["n_embd"]
NORM = Norm("layer_norm", 1e-5, bias=True)
FC1, FC2 = "value_head.fc1.weight", "value_head.fc2.weight"
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def test_defaults_are_those_of_trigorl():
    assert value_heads.parse({}, HIDDEN) == ValueHead((256, 64), NORM, "relu", "tanh")
    assert value_heads.parse(None, HIDDEN) is None


def test_every_field():
    given = {
        **{"hidden_dim": HIDDEN, "intermediate_dim": 7, "bottleneck_dim": 3, "dropout": 0.5},
        **{"use_layer_norm": False, "activation": "GELU", "output_activation": "Sigmoid"},
    }
    assert value_heads.parse(given, HIDDEN) == ValueHead((7, 3), None, "gelu_erf", "sigmoid")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "value_head must be an object, not []"),
        (64, "value_head must be an object, not 64"),
        ({"layers": 3}, "unsupported value_head.layers (supported: intermediate_dim, "),
        ({"intermediate_dim": 0}, "value_head.intermediate_dim must be a positive integer, not 0"),
        ({"bottleneck_dim": math.nan}, "bottleneck_dim must be a positive integer, not nan"),
        ({"bottleneck_dim": True}, "bottleneck_dim must be a positive integer, not True"),
        ({"intermediate_dim": 2**31}, "intermediate_dim must be at most 2147483647"),
        ({"use_layer_norm": 1}, "value_head.use_layer_norm must be true or false, not 1"),
        (
            {"activation": "swish"},
            "unsupported value_head.activation 'swish' (supported: relu, gelu, tanh, sigmoid)",
        ),
        ({"activation": None}, "unsupported value_head.activation None"),
        ({"output_activation": ["tanh"]}, "unsupported value_head.output_activation ['tanh']"),
        ({"hidden_dim": 64}, "value_head.hidden_dim 64 must be the model's width, 24"),
        ({"hidden_dim": "24"}, "value_head.hidden_dim must be a positive integer, not '24'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(given: object, message: str):
    with pytest.raises(ExportError, match=re.escape(message)):
        value_heads.parse(given, HIDDEN)


def write(
    directory: Path, changes: dict | None = None, *, normed: bool = True, **fields: object
) -> Path:
    """A checkpoint with a value head of 10 and 6, some tensors changed or, where None, left out."""
    tensors = checkpoints.weights(checkpoints.SMALL)
    tensors = {f"model.{name}": tensor for name, tensor in tensors.items()}
    tensors |= checkpoints.value_head(HIDDEN, normed=normed) | (changes or {})
    tensors = {name: value for name, value in tensors.items() if value is not None}
    return checkpoints.write(directory, {**checkpoints.SMALL, **fields}, tensors)


def loaded(directory: Path) -> sources.Source:
    """The source, its tensors checked as an export does."""
    source = sources.from_checkpoint(str(directory))
    model.with_weights(source, Precision("float32", "float32"))
    return source


def test_tensors_tell_where_the_config_does_not(tmp_path: Path):
    source = loaded(write(tmp_path))
    assert source.spec.value_head == ValueHead((10, 6), NORM, "relu", "tanh")
    assert source.notes == (
        "value_head.* make the output value (relu between its layers, tanh at its end:"
        " config.json's value_head may say otherwise)",
    )
    plain = loaded(write(tmp_path, normed=False))
    assert plain.spec.value_head.norm is None


def test_the_config_counts_where_it_tells(tmp_path: Path):
    head = {"intermediate_dim": 10, "bottleneck_dim": 6, "activation": "tanh"}
    source = loaded(write(tmp_path, value_head=head))
    assert source.spec.value_head == ValueHead((10, 6), NORM, "tanh", "tanh")
    assert source.notes == ()


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        (
            {FC1: None},
            {},
            f"tensor {FC1!r} must be a matrix [outputs, inputs], it is none, though there is"
            " 'value_head.fc1.bias'; a value head's parts are value_head.fc1, ",
        ),
        (
            {FC2: np.ones(6, np.float32)},
            {},
            f"tensor {FC2!r} must be a matrix [outputs, inputs], it",
        ),
        ({"value_head.fc1.bias": None}, {}, "missing tensor 'value_head.fc1.bias'"),
        ({"value_head.ln1.weight": None}, {}, "missing tensor 'value_head.ln1.weight'"),
        ({"value_head.ln2.bias": None}, {}, "missing tensor 'value_head.ln2.bias'"),
        ({"value_head.fc_out.weight": None}, {}, "missing tensor 'value_head.fc_out.weight'"),
        (
            {FC1: np.ones((10, 32), np.float32)},
            {},
            f"tensor {FC1!r} has shape [10, 32], expected [10, 24]",
        ),
        (
            {FC2: np.ones((6, 11), np.float32)},
            {},
            f"tensor {FC2!r} has shape [6, 11], expected [6, 10]",
        ),
        (
            {"value_head.fc_out.weight": np.ones((2, 6), np.float32)},
            {},
            "tensor 'value_head.fc_out.weight' has shape [2, 6], expected [1, 6]",
        ),
        (
            {},
            {"value_head": {"intermediate_dim": 12, "bottleneck_dim": 6}},
            f"tensor {FC1!r} has shape [10, 24], expected [12, 24]",
        ),
        (
            {},
            {"value_head": {"intermediate_dim": 10, "bottleneck_dim": 6, "use_layer_norm": False}},
            "unexpected tensor 'value_head.ln1.bias': what it adds to the value would be lost",
        ),
        (
            {"value_head.fc3.weight": np.ones((6, 6), np.float32)},
            {},
            "unexpected tensor 'value_head.fc3.weight': what it adds to the value would be lost;"
            " a value head's parts are value_head.fc1, value_head.ln1, value_head.fc2, ",
        ),
        (
            {"value_head.scale": np.ones(1, np.float32)},
            {},
            "unexpected tensor 'value_head.scale'",
        ),
        (
            {"model.value_head.fc1.weight": np.ones((10, 24), np.float32)},
            {},
            "unexpected tensor 'model.value_head.fc1.weight': what it adds to the value",
        ),
        ({FC1: np.ones((10, 24), np.int8)}, {}, f"tensor {FC1!r} has element type I8"),
        ({}, {"layer_norm_epsilon": math.nan}, "layer_norm_epsilon must be a positive number"),
    ],
)
def test_tensors_that_are_no_whole_value_head(
    tmp_path: Path, changes: dict, fields: dict, message: str
):
    with pytest.raises(ExportError) as error:
        loaded(write(tmp_path, changes, **fields))
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize(
    ("activation", "output_activation"),
    [("relu", "tanh"), ("gelu", "sigmoid"), ("tanh", "tanh"), ("sigmoid", "sigmoid")],
)
def test_the_export_computes_it(
    export, tmp_path: Path, normed: bool, activation: str, output_activation: str
):
    head = {"intermediate_dim": 10, "bottleneck_dim": 6, "use_layer_norm": normed}
    head |= {"activation": activation, "output_activation": output_activation}
    directory = write(tmp_path, normed=normed, value_head=head)
    tensors = checkpoints.weights(checkpoints.SMALL) | checkpoints.value_head(HIDDEN, normed=normed)
    expected = reference_gpt2.values(checkpoints.SMALL, tensors, IDS, activation, output_activation)

    plain = PlainModel(export("--model", directory))
    _, (found, *_) = plain.run(np.array([IDS]))

    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found[0, :, 0], expected, atol=1e-5)
    assert plain.config["outputs"] == [
        {"name": "logits", "shape": ["tokens", "vocab_size"], "tokens": "selected"},
        {"name": "value", "shape": ["tokens", 1], "tokens": "selected"},
    ]
    assert plain.config["spec"]["value_head"] == {
        "inner_sizes": [10, 6],
        "norm": {"kind": "layer_norm", "epsilon": 1e-5, "bias": True} if normed else None,
        "activation": value_heads.ACTIVATIONS[activation],
        "output_activation": value_heads.ACTIVATIONS[output_activation],
    }


@pytest.mark.parametrize(
    "options",
    [
        ("--dtype", "float16"),
        ("--weights", "int8"),
        ("--cache-dtype", "int8"),
        ("--hidden-states",),
    ],
    ids=" ".join,
)
def test_beside_other_options(export, tmp_path: Path, options: tuple[str, ...]):
    """Its weights are of the model's type, whatever the matrices are; it is the last output."""
    tensors = checkpoints.weights(checkpoints.SMALL) | checkpoints.value_head(HIDDEN)
    expected = reference_gpt2.values(checkpoints.SMALL, tensors, IDS)
    plain = PlainModel(export("--model", write(tmp_path), *options))
    assert plain.config["outputs"][-1]["name"] == "value"
    _, others = plain.run(np.array([IDS]))
    found = others[len(plain.config["outputs"]) - 2]
    assert found.dtype == np.dtype(plain.config["dtype"])
    np.testing.assert_allclose(found[0, :, 0], expected, atol=0.1)


def test_random_weights_are_of_the_size_of_torchs():
    head = ValueHead((128, 64), NORM, "relu", "tanh")
    assert value_heads.deviation("value_head.0.weight", head, 48) == pytest.approx(1 / 12)
    assert value_heads.deviation("value_head.1.weight", head, 48) == pytest.approx(384**-0.5)
    assert value_heads.deviation("value_head.output.weight", head, 48) == pytest.approx(192**-0.5)
