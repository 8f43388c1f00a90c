"""The nearest name to one that does not exist: what an error suggests."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the one of `known` that is spelled most like `name`, whatever their case.

    Raises ValueError when nothing is known.
    """
    by_lower = {each.lower(): each for each in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0)
    if not matches:
        raise ValueError(f"nothing is known that {name} could be near to")
    return by_lower[matches[0]]
