"""A document of a corpus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text. `path` is its POSIX path relative to the root of the source."""

    path: str
    text: str
