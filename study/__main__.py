"""`python -m study plan|run|status|report SPEC`: a study file from its cost to its figure."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from study import estimate, ledger, plan
from study.ledger import Record
from study.plan import Study
from study.status import Display, Outcome, duration, print_plan, print_status
from workloads.errors import InputError

START = time.perf_counter()

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# A table of points needs 100 columns; a narrower terminal wraps its lines rather than lose digits.
results = Console(width=max(100, Console().width))
progress = Console(stderr=True)

Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="The study file (YAML).")]
Runs = Annotated[Path, typer.Option(help="Where runs, data and the default ledger are kept.")]
RUNS = Path("runs")


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
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Show what a study would run and what it costs, without starting anything.

    \b
    Example:
      python -m study plan study/specs/paper.yaml --json
    """
    planned, records = _load(spec, runs)
    seconds, basis = estimate.point_seconds(planned.points, records, planned.spec.value.resources)
    states = ledger.states(planned, records)
    if as_json:
        print(json.dumps(plan.as_json(planned, states, seconds, basis), indent=1))
    else:
        print_plan(results, planned, states, seconds, basis)


@app.command()
def run(spec: Spec, runs: Runs = RUNS) -> None:
    """Train every point that has not ended yet, then write the report.

    Safe to stop at any time: the same command goes on with what is missing.

    \b
    Example:
      python -m study run study/specs/quickstart.yaml
    """
    from study.run import run as run_study

    planned, records = _load(spec, runs)
    outcome = run_study(planned, Display(progress, planned, records))
    _print_overhead(outcome)
    states = Counter(ledger.states(planned, _write_report(planned)).values())
    del states["finished"]
    if states:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        _say(f"not finished: {counts}; for causes: python -m study status {spec}")
        raise typer.Exit(1)


@app.command()
def status(spec: Spec, runs: Runs = RUNS) -> None:
    """Show the state of every point: done, running, failed, diverged or missing; FLOPs spent.

    \b
    Example:
      python -m study status study/specs/quickstart.yaml
    """
    planned, records = _load(spec, runs)
    print_status(results, planned, records)


@app.command()
def report(spec: Spec, runs: Runs = RUNS) -> None:
    """Fit the scaling curves of the finished runs; write runs.csv, fits.json, figure and report.

    \b
    Example:
      python -m study report study/specs/quickstart.yaml
    """
    planned, records = _load(spec, runs)
    if not records:
        raise InputError(
            f"study {planned.name} has no runs yet; start it with: python -m study run {spec}"
        )
    _write_report(planned)


def _load(spec: Path, runs: Path) -> tuple[Study, dict[str, Record]]:
    planned = plan.load(spec, runs)
    records = ledger.read(ledger.tracking_uri(runs), planned.name)
    ledger.check_identities(planned.points, records)
    return planned, records


def _write_report(planned: Study) -> dict[str, Record]:
    """Write the report from what the ledger holds now, which is returned; print its headlines."""
    from study.report import write

    records = ledger.read(ledger.tracking_uri(planned.runs_dir), planned.name)
    written = write(planned, records)
    for line in (*written.headlines, f"report: {written.out_dir / 'report.html'}"):
        results.print(line, highlight=False, soft_wrap=True)
    return records


def _print_overhead(outcome: Outcome) -> None:
    """What orchestration cost: this command's wall time over the training loops' own time."""
    if not outcome.slots:
        _say("nothing to run: every point has ended")
    if not outcome.results:
        return
    wall, training = time.perf_counter() - START, outcome.train_seconds
    _say(
        f"{len(outcome.results)} point(s) in {duration(wall)}; overhead {wall / training:.2f} "
        f"({wall:.0f} s of wall time over {training:.0f} s of training loops, {outcome.slots} "
        f"points at a time: {wall * outcome.slots / training:.2f} a slot)"
    )


def _say(text: str) -> None:
    progress.print(text, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        app(prog_name="python -m study")
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
