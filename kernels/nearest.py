"""The nearest known name to a misspelt one, which error messages suggest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the known name whose spelling is most similar to `name`, whatever its case.

    Raises:
        ValueError: no name is known.
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    if not by_folded:
        raise ValueError("no name is known")
    (nearest,) = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.0)
    return by_folded[nearest]
