"""The commands of `python -m analysis`, in the order of --help."""

import typer

from analysis.commands.compare import compare_command
from analysis.commands.envelope import envelope_command
from analysis.commands.fit import fit
from analysis.commands.growth import growth_command
from analysis.commands.isoflop import isoflop_command
from analysis.commands.next_runs import next_runs_command
from analysis.commands.plot import HELP, plot_command
from analysis.commands.predict import predict_command
from analysis.commands.report import report_command

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def analysis() -> None:
    """Fit scaling laws to finished runs and draw them.

    Needs a run table only, from MLflow or a CSV: no GPU, no torch, no Ray.

    \b
    Example:
      python -m analysis fit runs.csv --law compute --by arm

    Exit codes: 0 done, 1 the work failed, 2 the input is wrong.
    """


app.command(name="report")(report_command)
app.command()(fit)
app.command(name="compare")(compare_command)
app.command(name="growth")(growth_command)
app.command(name="predict")(predict_command)
app.command(name="isoflop")(isoflop_command)
app.command(name="envelope")(envelope_command)
app.command(name="next-runs")(next_runs_command)
app.command(name="plot", help=HELP)(plot_command)
