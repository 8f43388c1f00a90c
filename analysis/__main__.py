"""Command line of the analysis: `python -m analysis --help`."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from analysis.commands.compare import compare_command
from analysis.commands.envelope import envelope_command
from analysis.commands.fit import fit
from analysis.commands.isoflop import isoflop_command
from analysis.commands.next_runs import next_runs_command
from analysis.commands.plot import HELP, plot_command
from analysis.commands.predict import predict_command
from analysis.report import write_report
from analysis.runs import RunTableError, load_csv, load_mlflow

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def main() -> None:
    """Fit scaling laws to finished runs and draw them.

    Needs a run table only, from MLflow or a CSV: no GPU, no torch, no Ray.

    \b
    Example:
      python -m analysis fit runs.csv --law compute --by arm

    Exit codes: 0 done, 1 the work failed, 2 the input is wrong.
    """


app.command()(fit)
app.command(name="compare")(compare_command)
app.command(name="predict")(predict_command)
app.command(name="isoflop")(isoflop_command)
app.command(name="envelope")(envelope_command)
app.command(name="next-runs")(next_runs_command)
app.command(name="plot", help=HELP)(plot_command)


@app.command()
def report(
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
    Markdown to --out, and prints one sentence an arm.

    \b
    Examples:
      python -m analysis report --mlflow sqlite:///mlflow.db --study quickstart --out out
      python -m analysis report out/runs.csv --out again --title "Quickstart"
      python -m analysis report analysis/published/scaling.csv --out published
    """
    try:
        if runs and not (mlflow or study):
            table, name = load_csv(runs), runs.stem
        elif mlflow and study and not runs:
            table, name = load_mlflow(mlflow, study), study
        else:
            raise RunTableError("give either RUNS.csv, or both --mlflow URI and --study NAME")
        written = write_report(table, out, title or name)
    except RunTableError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{out}: the report cannot be written ({error}); choose another --out")
    typer.echo("\n".join(written.headlines))
    typer.echo(f"{written.n_used} runs entered, {written.n_excluded} did not: {out / 'report.md'}")


def _refuse(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
