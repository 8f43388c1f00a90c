"""Numbers that are enough as they are printed."""

import random

import pytest

from workloads.schema.rounding import rounded_up


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (1 / 300, 2, 0.0034),
        (0.025, 2, 0.025),
        (0.005, 2, 0.005),
        (1.2091e11, 4, 1.210e11),
        (99.1, 2, 100),
    ],
)
def test_it_is_rounded_up_to_its_digits(value: float, digits: int, expected: float) -> None:
    assert rounded_up(value, digits) == expected


def test_what_is_printed_is_never_less_and_hardly_more() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        value, digits = 10 ** draw.uniform(-6, 22), draw.choice([2, 4])
        printed = float(f"{rounded_up(value, digits):.{digits}g}")
        assert value <= printed <= value * (1 + 10.0 ** (1 - digits))
