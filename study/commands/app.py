"""The commands of `python -m study`, in the order of --help."""

from __future__ import annotations

import typer

from study.commands import doctor, jobs, logs, plan, prepare, report, run, status, transfer, ui
from study.submit import ray_job

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def study() -> None:
    """Scaling-law studies of language models with structured feedforward layers.

    \b
    Example:
      python -m study run study/specs/quickstart.yaml

    Exit codes: 0 done, 1 some of the work failed, 2 the input is wrong. Runs are recorded in
    MLflow at MLFLOW_TRACKING_URI, by default a SQLite database under the runs folder.
    """
    ray_job.take_settings()


app.command()(plan.plan)
app.command()(plan.schema)
app.command()(prepare.prepare)
app.command()(run.run)
app.command()(report.report)
app.command()(status.status)
app.command()(logs.logs)
app.command()(jobs.submit)
app.command()(jobs.stop)
app.command()(ui.ui)
app.command()(doctor.doctor)
app.command()(transfer.export)
app.command(name="import")(transfer.import_)
app.command()(transfer.adopt)
app.command()(transfer.drop)
