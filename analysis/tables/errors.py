"""The error of a table that cannot be read, and words for its message."""

import difflib
from collections.abc import Iterable


class RunTableError(ValueError):
    """The table cannot be read; the message names the place, the column and the remedy."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Name the candidate most like `name`, in brackets for an error's message, or nothing."""
    found = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" (nearest: {found[0]!r})" if found else ""


def first_line(error: Exception) -> str:
    """Take the first line of an error's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
