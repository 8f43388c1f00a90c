"""The consoles that the command line prints to: what is printed on them is text, never markup."""

from __future__ import annotations

from typing import Any

from rich.console import Console

# A table of points needs 100 columns; a narrower terminal wraps its lines rather than lose digits.
LEAST_WIDTH = 100


def new_console(**options: Any) -> Console:
    """Return rich's console for text as it is: brackets, colons and numbers mean nothing in it.

    Paths, names and errors hold whatever people wrote; where rich is to colour something, it is
    given a `Text` with a style.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)


results = new_console(width=max(LEAST_WIDTH, Console().width))
progress = new_console(stderr=True)


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    progress.print(text, soft_wrap=True)
