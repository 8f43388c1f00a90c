"""`python -m study COMMAND`: a study file from its cost to its figure."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import typer

from kernels import switches
from study.commands import jobs, logs, looking, transfer
from study.commands.options import RUNS, Json, Runs, Spec, progress, results, say
from study.display.plan_json import plan_as_json
from study.display.plan_table import print_plan
from study.display.progress import Display
from study.display.tables import duration
from study.ledger import reader
from study.ledger.reader import Record
from study.plan import planner
from study.plan.naming import describe
from study.plan.planner import Study
from study.progress import continuation, estimate
from study.running.outcome import Outcome
from study.search.pareto import print_fronts
from study.search.samples import with_recorded
from workloads.errors import InputError

START = time.perf_counter()

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


@app.command(name="plan")
def plan_command(
    spec: Spec,
    as_json: Json = False,
    runs: Runs = RUNS,
) -> None:
    """Show what a study would run and what it costs, without starting anything.

    \b
    Example:
      python -m study plan study/specs/paper.yaml --json
    """
    planned, records = _load(spec, runs)
    seconds, basis = estimate.point_seconds(planned.points, records, planned.spec.value.resources)
    states = reader.states(planned, records)
    notes = continuation.notes(planned, records)
    if as_json:
        print(json.dumps(plan_as_json(planned, states, notes, seconds, basis), indent=1))
    else:
        print_plan(results, planned, states, seconds, basis)
        _print_notes(planned, notes)


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, with which editors complete and check them.

    \b
    Example:
      python -m study schema > study.schema.json

    A study file then begins with: # yaml-language-server: $schema=study.schema.json
    """
    from study.spec.json_schema import study_schema

    print(json.dumps(study_schema(), indent=1))


@app.command()
def run(spec: Spec, runs: Runs = RUNS) -> None:
    """Train every point that has not ended yet, then write the report.

    Safe to stop at any time: the same command goes on with what is missing.

    \b
    Example:
      python -m study run study/specs/quickstart.yaml
    """
    from study.running.run import run as run_study
    from study.submit import ray_job

    if ray_job.in_job():
        ray_job.check_lasting(runs)
    outcome = run_study(planner.load(spec, runs), partial(Display, progress))
    planned = outcome.study
    _print_overhead(outcome)
    if outcome.hours_spent:
        say(str(planned.spec.error(("max_gpu_hours",), outcome.hours_spent)))
    if outcome.not_uploaded:
        say(
            f"MLflow lacks some of the results ({outcome.not_uploaded}); they are in "
            f"{planned.directory}, and the same command delivers them without training again"
        )
        raise typer.Exit(1)
    records = outcome.records if outcome.changed_nothing else _read(planned)
    planned = _write_report(planned, records)
    print_fronts(results, planned, records)
    states = Counter(reader.states(planned, records).values())
    del states["finished"], states["stopped"]
    if states:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        say(
            f"not finished: {counts}; for causes: python -m study status {spec}, for tracebacks: "
            f"python -m study logs {spec} POINT"
        )
        raise typer.Exit(1)


@app.command()
def report(spec: Spec, runs: Runs = RUNS) -> None:
    """Fit the scaling curves of the finished runs; write runs.csv, fits.json, figure and report.

    \b
    Example:
      python -m study report study/specs/quickstart.yaml
    """
    planned = planner.load(spec, runs)
    records = _read(planned)
    reader.check_identities(planned.points, records)
    if not records:
        raise InputError(
            f"study {planned.name} has no runs yet; start it with: python -m study run {spec}"
        )
    _write_report(planned, records)


app.command()(looking.status)
app.command()(logs.logs)
app.command()(jobs.submit)
app.command()(jobs.stop)
app.command()(looking.ui)
app.command()(looking.doctor)
app.command()(transfer.export)
app.command(name="import")(transfer.import_)
app.command()(transfer.adopt)
app.command()(transfer.drop)


def _print_notes(planned: Study, notes: dict[str, str]) -> None:
    """How near the points come to the FLOPs asked of them, what is no point and why, what a search
    may add, and which new points continue from a recorded run."""
    lines = [f"{point_id}: {note}" for point_id, note in notes.items()]
    lines += [
        f"search: {describe(item.item.variant)}: {item.trials} samples of "
        f"{', '.join(item.dimensions)}, {item.max_train_flops:.3g} FLOPs at most"
        for item in planned.searched
    ]
    lines += [f"dropped: {item.point}: {item.reason}" for item in planned.dropped]
    if (most := planned.imprecision) is not None:
        lines.insert(0, f"Points spend the FLOPs of isoflop or their dense twin within {most:.2%}.")
    for line in lines:
        results.print(line, highlight=False, markup=False, soft_wrap=True)


def _load(spec: Path, runs: Path) -> tuple[Study, dict[str, Record]]:
    planned = planner.load(spec, runs)
    records = reader.read(reader.tracking_uri(runs), planned.name)
    reader.check_identities(planned.points, records)
    return with_recorded(planned, records), records


def _read(planned: Study) -> dict[str, Record]:
    """Return what the ledger holds of the study, as a report needs it."""
    return reader.read(reader.tracking_uri(planned.runs_dir), planned.name, with_params=True)


def _write_report(planned: Study, records: dict[str, Record]) -> Study:
    """Write the report of these records, print its headlines, return the study with its samples."""
    from study.transfer.report import write

    planned = with_recorded(planned, records)
    written = write(planned, records)
    for line in (*written.headlines, f"report: {written.out_dir / 'report.html'}"):
        results.print(line, highlight=False, soft_wrap=True)
    return planned


def _print_overhead(outcome: Outcome) -> None:
    """What orchestration cost: this command's wall time over the training loops' own time."""
    if outcome.uploaded:
        say(f"results of an earlier launch, delivered to MLflow now: {outcome.uploaded}")
    elif not outcome.slots:
        say("nothing to run: every point has ended")
    if not outcome.results:
        return
    wall, training = time.perf_counter() - START, outcome.train_seconds
    say(
        f"{len(outcome.results)} point(s) in {duration(wall)}; overhead {wall / training:.2f} "
        f"({wall:.0f} s of wall time over {training:.0f} s of training loops, {outcome.slots} "
        f"points at a time: {wall * outcome.slots / training:.2f} a slot)"
    )


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        switches.check()
        app(prog_name="python -m study")
    except (InputError, switches.UnknownSwitch) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
