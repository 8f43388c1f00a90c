"""Results as JSON values."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """`value` with tuples as lists and infinities and NaN as None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
