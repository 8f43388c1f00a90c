"""Names of tensors that a file should have, and those that it has."""

from __future__ import annotations

from collections.abc import Iterable


def difference(missing: Iterable[str], unexpected: Iterable[str]) -> str:
    """Return words for the names that are missing and unexpected; empty where none are."""
    parts = {"missing": list(missing), "unexpected": list(unexpected)}
    return " and ".join(f"{what} {listed(names)}" for what, names in parts.items() if names)


def listed(names: Iterable[str]) -> str:
    """List the first few names."""
    every = list(names)
    return ", ".join(every[:4]) + (f" (and {len(every) - 4} more)" if len(every) > 4 else "")
