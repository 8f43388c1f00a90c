"""Numbers that an error names as the least that will do."""

from __future__ import annotations

import math


def rounded_up(value: float, digits: int) -> float:
    """Return a positive value, rounded up to so many digits: what is printed of it is enough."""
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    rounded = float(f"{math.ceil(value / unit) * unit:.{digits}g}")
    return rounded if rounded >= value else float(f"{rounded + unit:.{digits}g}")
