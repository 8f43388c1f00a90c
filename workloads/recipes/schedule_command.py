"""`python -m workloads schedule`: what a run's schedules give at each step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from workloads.config.phases import phase_at
from workloads.config.rates import guide_weight, learning_rate_at
from workloads.config.run import RunConfig
from workloads.errors import InputError
from workloads.recipes.recipe import load_run

# The files that can be drawn, and what keeps dates out of them.
UNDATED = {".png": None, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
Rows = list[dict[str, float]]


def schedule(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="The run, written as for `train`.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(dir_okay=False, metavar="OUT", help="Draw them too: a .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Say the learning rate of every step of a run.

    \b
    Example: python -m workloads schedule noam-wide.yaml --plot rates.png
    where noam-wide.yaml holds
      preset: noam-wide
      budget: {steps: 10000}

    Prints a line for each optimizer step, counted from 0; of a guided run with the guide weight
    beside the rate. A run that grows is shown with all its phases. Exit code 2 when the
    configuration is wrong or OUT cannot be written.
    """
    if plot and plot.suffix not in UNDATED:
        raise InputError(f"{plot}: {plot.suffix or 'no suffix'} is no figure; use .png, .svg, .pdf")
    rows = scheduled(load_run(config))
    if plot:
        _draw(rows, plot)
    typer.echo(json.dumps(rows) if as_json else _table(rows))


def scheduled(config: RunConfig) -> Rows:
    """Return the learning rate, and of a guided run the guide weight, of each 0-based step."""
    rows: Rows = []
    phases = config.phases
    for step in range(config.total_steps):
        phase = phase_at(phases, step)
        row = {"step": step, "learning_rate": learning_rate_at(config, phase, step)}
        if guide := config.model.guide:
            guided = phase.model.guide is not None
            row["guide_share"] = guide_weight(step, phase.steps, guide) if guided else 0.0
        rows.append(row)
    return rows


def _table(rows: Rows) -> str:
    """Return the rows with aligned columns; numbers have all their digits."""
    cells = [[*rows[0]], *([repr(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )


def _draw(rows: Rows, path: Path) -> None:
    """Draw every column against the step. Raises InputError where the file cannot be written."""
    from matplotlib.figure import Figure  # Slow to import.

    names = {"learning_rate": "learning rate", "guide_share": "guide weight"}
    drawn = [name for name in names if name in rows[0]]
    figure = Figure(figsize=(6, 2.6 * len(drawn)), layout="constrained")
    axes = figure.subplots(len(drawn), sharex=True, squeeze=False)[:, 0]
    for name, axis in zip(drawn, axes, strict=True):
        axis.plot([row["step"] for row in rows], [row[name] for row in rows], color="black")
        axis.set_ylabel(names[name])
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("optimizer step")
    try:
        figure.savefig(path, dpi=150, metadata=UNDATED[path.suffix])
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
