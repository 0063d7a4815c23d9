"""What a figure that a page writes says."""

from __future__ import annotations

import re
from typing import NamedTuple

SCALES = {
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "kB/s": 1e3,
    "MB/s": 1e6,
    "GB/s": 1e9,
    "TB/s": 1e12,
    "%": 0.01,
}


class Written(NamedTuple):
    """A written figure such as `75.50 MB` or `84 %`: its number, and what its last digit counts."""

    number: float
    last_digit: float

    @classmethod
    def of(cls, text: str) -> Written:
        match = re.fullmatch(r"(-?)([\d,]+)(?:\.(\d+))?(?:e([+-]?\d+))?\s*(.*)", text)
        assert match, text
        sign, whole, digits, exponent, unit = match.groups(default="")
        scale = SCALES.get(unit, 1) * 10 ** int(exponent or 0)
        number = float(f"{sign}{whole.replace(',', '')}.{digits or 0}")
        return cls(number * scale, 10 ** -len(digits) * scale)

    def says(self, value: float) -> bool:
        """Whether it is `value` rounded to its last digit, with digits enough if it is rounded.

        That is to half a percent of the value, or to a whole percent where it is a share.
        """
        error = abs(self.number - value)
        half = 0.5001 * self.last_digit
        is_fine = half <= max(0.0051 * max(abs(value), 0.1), SCALES["%"])
        return error <= half and (is_fine or error <= 1e-9 * abs(value))
