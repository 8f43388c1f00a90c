"""`study export`, `import`, `adopt` and `drop`: what enters and leaves a study's ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.commands.options import RUNS, Runs, Spec
from study.display.console import say
from study.plan import planner


def export(
    spec: Spec,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; new or empty.")],
    runs: Runs = RUNS,
) -> None:
    """Write a study as one folder: run table, metrics, configurations, study file, provenance.

    \b
    Example:
      python -m study export study/specs/quickstart.yaml quickstart-results
      python -m analysis fit quickstart-results/runs.csv
    """
    from study.transfer.export import export_study

    say(f"{export_study(planner.load(spec, runs), out)} runs written to {out}")


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `study export` wrote.")],
    runs: Runs = RUNS,
) -> None:
    """Read an exported study into the ledger; runs that it holds already stay as they are.

    \b
    Example:
      python -m study import quickstart-results
    """
    from study.transfer.export import import_study

    name, count = import_study(folder, runs)
    say(f"study {name}: {count} runs added to the ledger")


def adopt(
    spec: Spec,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="A run's directory, a folder of them, or TRACKING_URI/EXPERIMENT.",
        ),
    ],
    runs: Runs = RUNS,
) -> None:
    """Take ended runs from elsewhere into a study, where they are of its points exactly.

    \b
    Examples:
      python -m study adopt study.yaml --from runs/low-rank
      python -m study adopt study.yaml --from http://mlflow:5000/quickstart
    """
    from study.transfer.adopt import adopt as adopt_runs

    for point_id in adopt_runs(planner.load(spec, runs), source):
        say(f"adopted {point_id}")


def drop(
    spec: Spec,
    point: Annotated[str, typer.Argument(metavar="POINT_ID", help="As `study status` shows it.")],
    reason: Annotated[str, typer.Option(help="Recorded with the run.")] = "",
    runs: Runs = RUNS,
) -> None:
    """Take a recorded run out of a study, so that `run` trains its point anew; nothing is deleted.

    \b
    Example:
      python -m study drop study.yaml nano-dense-c7.85e11-seed0 --reason "wrong data"
    """
    from study.transfer.adopt import drop as drop_run

    aside = drop_run(planner.load(spec, runs), point, reason)
    say(f"dropped {point}" + (f"; its directory is now {aside}" if aside else ""))
