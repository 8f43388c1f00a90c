"""`study run`: train what is missing, then write the report."""

from __future__ import annotations

import time
from collections import Counter

import typer

from study.commands.options import RUNS, Runs, Spec, load_recorded, progress, results, say
from study.commands.report import write_report
from study.display.pareto_table import print_pareto_table
from study.display.progress import Display
from study.display.tables import duration
from study.ledger import reader
from study.running.outcome import Outcome

START = time.perf_counter()


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
    planned, records = load_recorded(spec, runs)
    outcome = run_study(planned, Display(progress, planned, records))
    _print_overhead(outcome)
    if outcome.out_of_hours:
        say(str(planned.spec.error(("max_gpu_hours",), outcome.out_of_hours)))
    if outcome.undelivered:
        say(
            f"MLflow lacks some of the results ({outcome.undelivered}); they are in "
            f"{planned.directory}, and the same command delivers them without training again"
        )
        raise typer.Exit(1)
    planned, records = write_report(planned)
    print_pareto_table(results, planned, records)
    states = Counter(reader.states(planned, records).values())
    del states["finished"], states["stopped"]
    if states:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        say(f"not finished: {counts}; for causes: python -m study status {spec}")
        raise typer.Exit(1)


def _print_overhead(outcome: Outcome) -> None:
    """Print this command's wall time over the time of the training loops."""
    if outcome.delivered:
        say(f"results of an earlier launch, delivered to MLflow now: {outcome.delivered}")
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
