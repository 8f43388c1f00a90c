"""The options and the course that all commands which measure claims have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:  # torch is imported late, so that --help does not wait for it.
    import torch

    from kernels.bench.claims import Claim
    from kernels.bench.comparison import Comparison

Rounds = Annotated[int, typer.Option(min=1, help="Rounds to take medians over.")]
ResultsFile = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        help="Results file, to which one line per claim is appended; "
        "by default kernels/bench/results/HARDWARE.jsonl.",
    ),
]


def measure_claims(
    claims: Iterable[Claim],
    num_rounds: int,
    device: torch.device,
    out: Path | None,
    compare: Callable[[Claim, torch.device], Comparison],
) -> NoReturn:
    """Measure claims, print and record each, and exit with 0 if all were verified, otherwise 1.

    Args:
        claims: the claims.
        num_rounds: rounds over which medians are taken.
        device: the device to measure.
        out: the results file; None for the device's own.
        compare: builds the contenders of a claim, as `kernels.bench.comparison.compare` does.
    """
    from kernels.bench import measure, records

    path = out or records.file_of(device)
    at = measure.conditions(device)
    all_verified = measure.measure(claims, num_rounds, at, path, typer.echo, compare)
    typer.echo(f"appended to {path}", err=True)
    raise typer.Exit(0 if all_verified else 1)
