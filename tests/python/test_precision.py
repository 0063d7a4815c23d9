"""Weights are rounded to nearest, and refused where they would not survive."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kvcache_export.cli import main
from kvcache_export.errors import ExportError
from kvcache_export.precision import DTYPES, MatrixType, Precision, convert

EMBEDDING = "embedding.tokens"


def test_float32_is_not_copied():
    weight = np.ones(3, np.float32)
    assert convert(weight, "float32", "w") is weight


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float16", [1.0, 1 + 2**-9]), ("bfloat16", [1.0, 1 + 2**-6])],
)
def test_rounds_to_nearest_even(dtype: str, expected: list[float]):
    unit = expected[1] - 1
    halfway = np.float32([1 + unit / 4, 1 + unit * 3 / 4])
    assert convert(halfway, dtype, "w").astype(np.float64).tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_are_refused(bad: float, dtype: str):
    with pytest.raises(ExportError, match=r"tensor 'w' holds NaN or Inf \(1 of 4 values\)"):
        convert(np.float32([1, bad, 2, 3]), dtype, "w")


def test_overflow_is_refused():
    with pytest.raises(ExportError, match=r"'w' does not fit float16: its largest value is 7e\+04"):
        convert(np.float32([1, -70_000]), "float16", "w")


def test_the_command_line_offers_every_dtype(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main(["--dtype", "int8"])
    message = capsys.readouterr().err
    assert all(repr(dtype) in message or dtype in message for dtype in DTYPES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("float32", "float16", "bfloat16"),
            "--activations bfloat16 with --weights float16, --dtype float32: such weights are"
            " multiplied with what the model computes; use --weights int8, int4, uint4, bfloat16"
            " with --dtype float32, or leave --activations out",
        ),
        (
            ("bfloat16", "bfloat16", "bfloat16"),
            "--activations bfloat16 with --weights bfloat16, --dtype bfloat16: such weights are",
        ),
        (
            ("float32", "int8", "bfloat16"),
            "--activations bfloat16 with --weights int8: they are multiplied with int8 or float32;"
            " use one of these, or leave --activations out",
        ),
        (
            ("float32", "bfloat16", "int8"),
            "--activations int8 with --weights bfloat16: they are multiplied with float32 or"
            " bfloat16",
        ),
    ],
)
def test_activations_that_weights_are_not_multiplied_with(
    options: tuple[str, str, str], message: str
):
    dtype, weights, activations = options
    with pytest.raises(ExportError, match=re.escape(message)):
        Precision(dtype, weights, activations=activations)


def test_quantised_overrides_are_not_multiplied_with_bfloat16():
    overrides = {"transformer.h.0.*": "float16", "transformer.h.1.*": "int4"}
    message = "and int4 for some in --weights-overrides: only bfloat16 weights are multiplied with"
    with pytest.raises(ExportError, match=re.escape(message)):
        Precision("float32", "bfloat16", overrides=overrides, activations="bfloat16")


@pytest.mark.parametrize(
    ("weights", "overrides", "activations", "expected"),
    [
        ("bfloat16", {}, None, (None, None, None)),
        ("bfloat16", {}, "float32", (None, None, None)),
        ("bfloat16", {}, "bfloat16", ("bfloat16", "bfloat16", "bfloat16")),
        ("bfloat16", {"a": "float32"}, "bfloat16", (None, "bfloat16", "bfloat16")),
        ("bfloat16", {"a": "int8"}, None, ("int8", None, "int8")),
        ("int8", {"a": "bfloat16"}, None, (None, "int8", "int8")),
        ("int8", {"a": "bfloat16"}, "float32", (None, None, None)),
    ],
)
def test_what_weights_are_multiplied_with(
    weights: str, overrides: dict[str, str], activations: str | None, expected: tuple
):
    precision = Precision("float32", weights, overrides=overrides, activations=activations)
    types = precision.of_matrices({"a": (), "b": ()})
    found = (types["a"].round_input, types["b"].round_input, precision.rounded_activations)
    assert found == expected
    assert types["a"].weights == overrides.get("a", weights)


@pytest.mark.parametrize(
    ("overrides", "added", "expected"),
    [
        ({}, {EMBEDDING: "int8", "head": "int8"}, ("int8", "int8", "uint4")),
        ({"w.emb": "uint4"}, {"head": "int8"}, ("uint4", "int8", "uint4")),
        ({"*": "uint4"}, {}, ("uint4", "uint4", "uint4")),
        ({"he*": "float32"}, {EMBEDDING: "int8"}, ("int8", "float32", "uint4")),
    ],
)
def test_embedding_and_head_of_uint4_are_int8_unless_a_pattern_matches(
    overrides: dict[str, str], added: dict[str, str], expected: tuple[str, ...]
):
    names = {EMBEDDING: ("w.emb",), "head": (), "layers.0.mlp.up": ()}
    precision = Precision("float32", "uint4", overrides=overrides).with_finer_matrices(names)
    assert precision.overrides == overrides | added
    assert tuple(type_.weights for type_ in precision.of_matrices(names).values()) == expected
    assert precision.rounded_activations == "int8"


def test_finer_matrices_are_of_uint4_and_of_those_that_there_are():
    names = {EMBEDDING: (), "layers.0.mlp.up": ()}
    assert Precision("float32", "uint4").with_finer_matrices(names).overrides == {EMBEDDING: "int8"}
    assert Precision("float32", "int4").with_finer_matrices(names).overrides == {}


def test_overrides_match_roles_and_the_names_of_checkpoints():
    """The first pattern that matches counts."""
    overrides = {"layers.0.mlp.*": "float16", "h.0.*": "int4", "*.up": "float32"}
    names = {
        "layers.0.mlp.up": ("h.0.c_fc",),
        "layers.0.attention.qkv": ("h.0.q", "h.0.k", "h.0.v"),
        "layers.1.mlp.up": ("h.1.c_fc",),
        "head": ("head",),
    }
    precision = Precision("float32", "int8", block_size=16, overrides=overrides)
    assert precision.of_matrices(names) == {
        "layers.0.mlp.up": MatrixType("float16"),
        "layers.0.attention.qkv": MatrixType("int4", 16, "int8"),
        "layers.1.mlp.up": MatrixType("float32"),
        "head": MatrixType("int8", 16, "int8"),
    }
