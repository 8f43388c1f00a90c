"""`python -m analysis report`: the report of a run table."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis.commands import options as opt
from analysis.report.report import write_report
from analysis.tables.curves import curves_beside
from analysis.tables.errors import RunTableError
from analysis.tables.runs import load_csv, load_mlflow


def report_command(
    out: Annotated[Path, typer.Option(help="Folder of the report; made if absent.")],
    runs: Annotated[
        Path | None, typer.Argument(metavar="RUNS.csv", help="A run table as CSV.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow tracking URI to read instead.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="The study to read from MLflow.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Heading of the report. Default: the study's or file's name.")
    ] = None,
) -> None:
    """Fit validation loss against training FLOPs, one power law an arm, and write the report.

    Give either RUNS.csv or --mlflow with --study. Writes report.html and report.md, the figure
    scaling as SVG, PDF and PNG, runs.csv, fits.json with everything, and tables/ as CSV, LaTeX and
    Markdown to --out, and prints one sentence an arm. A curves.csv beside RUNS.csv adds the figure
    of training curves; arms of several sizes at each budget add the isoFLOP minima.

    \b
    Examples:
      python -m analysis report --mlflow sqlite:///mlflow.db --study quickstart --out out
      python -m analysis report out/runs.csv --out again --title "Quickstart"
      python -m analysis report analysis/published/scaling.csv --out published
    """
    with opt.one_line_errors():
        table, curves, name = _read(runs, mlflow, study)
        source = str(runs) if runs else f"study {name}"
        try:
            written = write_report(table, out, title or name, curves, source)
        except OSError as error:
            raise RunTableError(
                f"{out}: the report cannot be written ({error}); choose another --out"
            ) from error
    counted = f"{written.n_used} runs entered, {written.n_excluded} did not"
    opt.print_lines([*written.lines, f"{counted}: {out / 'report.md'}"])


def _read(
    runs: Path | None, mlflow: str | None, study: str | None
) -> tuple[pd.DataFrame, pd.DataFrame | None, str]:
    """Read the run table, its curves if they lie beside it, and its name."""
    if runs and not (mlflow or study):
        return load_csv(runs), curves_beside(runs), runs.stem
    if mlflow and study and not runs:
        return load_mlflow(mlflow, study), None, study
    raise RunTableError("give either RUNS.csv, or both --mlflow URI and --study NAME")
