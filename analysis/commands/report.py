"""`python -m analysis report`: the report of a run table."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis.commands import options as opt
from analysis.report.report import write_report
from analysis.tables.cautions import across_studies
from analysis.tables.errors import RunTableError
from analysis.tables.runs import is_loss, load_mlflow
from analysis.tables.study_tables import tables_of_files


def report_command(
    out: Annotated[Path, typer.Option(help="Folder of the report; made if absent.")],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS.csv ...]", help="A run table, or one of each study."),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow tracking URI to read instead.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="The study to read from MLflow.")
    ] = None,
    loss_col: Annotated[
        str | None,
        typer.Option(
            help="Fit this loss: bits_per_byte, val_loss/NAME or a column of your own. "
            "[default: val_loss]"
        ),
    ] = None,
    flops_col: opt.FlopsCol = None,
    title: Annotated[
        str | None, typer.Option(help="Heading of the report. Default: the study's or file's name.")
    ] = None,
) -> None:
    """Fit validation loss against training FLOPs, one power law an arm, and write the report.

    \b
    A table of your own needs two columns; others are used where they are there:
      val_loss         nats per token, or another with --loss-col
      train_flops      training FLOPs of the whole run, or another with --flops-col
      arm              the curve a run belongs to; without it all runs are one
      status           only finished runs enter; without it all do
      flop_convention  how FLOPs are counted: paper, 6nd, ...; one in a table
      point_id         names a run; without it the number of its row does
      params, tokens, preset, seed, bits_per_byte, passes, train_seconds, ...

    Several tables are compared as arms named STUDY/ARM; --loss-col bits_per_byte compares
    studies of different tokenizers.

    Give either RUNS.csv or --mlflow with --study. Writes report.html and report.md, the figure
    scaling as SVG, PDF and PNG, runs.csv, fits.json with everything, and tables/ as CSV, LaTeX and
    Markdown to --out, and prints one sentence an arm. A curves.csv beside RUNS.csv adds the figure
    of training curves; arms of several sizes at each budget add the isoFLOP minima.

    \b
    Examples:
      python -m analysis report --mlflow sqlite:///mlflow.db --study quickstart --out out
      python -m analysis report out/runs.csv --out again --title "Quickstart"
      python -m analysis report bytes/runs.csv bpe/runs.csv --loss-col bits_per_byte --out both
      python -m analysis report analysis/published/scaling.csv --out published
    """
    with opt.one_line_errors():
        called, loss = _named(loss_col, flops_col)
        table, curves, name = _read(runs or [], mlflow, study, called)
        source = ", ".join(map(str, runs)) if runs else f"study {name}"
        try:
            written = write_report(table, out, title or name, curves, source, loss)
        except OSError as error:
            raise RunTableError(
                f"{out}: the report cannot be written ({error}); choose another --out"
            ) from error
    counted = f"{written.n_used} runs entered, {written.n_excluded} did not"
    told = across_studies(runs or [], loss)
    opt.print_lines([*written.lines, *told, f"{counted}: {out / 'report.md'}"])


def _named(loss_col: str | None, flops_col: str | None) -> tuple[dict[str, str], str]:
    """Say which columns of ours have another name in the file, and which loss is fitted."""
    called = {} if flops_col is None else {"train_flops": flops_col}
    if loss_col is None or is_loss(loss_col):
        return called, loss_col or "val_loss"
    return called | {"val_loss": loss_col}, "val_loss"


def _read(
    runs: list[Path], mlflow: str | None, study: str | None, called: dict[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame | None, str]:
    """Read the run tables, the curves if they lie beside the only one, and the name."""
    if runs and not (mlflow or study):
        tables = tables_of_files(runs, called)
        studies = list(dict.fromkeys(filter(None, tables.runs["study"])))
        name = runs[0].stem if len(runs) == 1 else " and ".join(studies)
        return tables.runs, tables.curves, name or "studies"
    if mlflow and study and not runs:
        return load_mlflow(mlflow, study), None, study
    raise RunTableError("give either RUNS.csv, or both --mlflow URI and --study NAME")
