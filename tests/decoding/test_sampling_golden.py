"""The committed golden of sampling is what its script makes."""

import json

from make_sampling_golden import FILE, make


def test_the_golden_is_what_its_script_makes() -> None:
    committed, made = json.loads(FILE.read_text()), json.loads(make())
    assert len(committed) == len(made)
    for found, expected in zip(committed, made, strict=True):
        probabilities = found.pop("probabilities"), expected.pop("probabilities")
        assert found == expected
        for one, other in zip(*probabilities, strict=True):  # libm's last digits may differ
            assert abs(one - other) <= 1e-11
