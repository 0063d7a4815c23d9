"""Weights are rounded to nearest, and refused where they would not survive."""

from __future__ import annotations

import numpy as np
import pytest

from kvcache_export.cli import main
from kvcache_export.errors import ExportError
from kvcache_export.precision import DTYPES, convert


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
