"""A page's figure is the value rounded to its last digit, whatever the value is."""

import pytest
from written_figure import Written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("33 %", 0.32528044334284045),  # more than half a percent of the value away
        ("0 %", 0.0049),
        ("3", 3),
        ("75.50 MB", 75_497_472),
        ("1,234", 1234.4),
        ("-0.125", -0.1249),
        ("1.25e-05", 0.0000125),
    ],
)
def test_what_is_rounded_right_is_right(text: str, value: float) -> None:
    assert Written.of(text).says(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("32 %", 0.32528044334284045),
        ("33 %", 0.3351),
        ("75.51 MB", 75_497_472),
        ("1,235", 1234.4),
        ("0.3", 0.325),  # too few digits
        ("3", 3.2),
        ("1 GB", 1_200_000_000),
    ],
)
def test_what_is_rounded_wrong_or_too_far_is_found(text: str, value: float) -> None:
    assert not Written.of(text).says(value)
