"""How far a long command is, on stderr, and how long the rest takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

# Called with what was done since the last call.
Progress = Callable[[int], None]


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """Show a bar where stderr is a terminal; elsewhere nothing, so that an error stands alone."""
    hidden = not sys.stderr.isatty()
    with typer.progressbar(length=total, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield bar.update
