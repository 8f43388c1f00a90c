"""What the commands of `python -m study` share: their arguments, and where they print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# A table of points needs 100 columns; a narrower terminal wraps its lines rather than lose digits.
results = Console(width=max(100, Console().width))
progress = Console(stderr=True)

RUNS = Path("runs")
Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="The study file (YAML).")]
Runs = Annotated[
    Path,
    typer.Option(envvar="STUDY_RUNS", help="Where runs, data and the default ledger are kept."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def say(text: str) -> None:
    """A line of progress, on stderr."""
    progress.print(text, highlight=False, soft_wrap=True)
