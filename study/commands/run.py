"""`study run`: train what is missing, then write the report."""

from __future__ import annotations

import os
import time
from collections import Counter

import typer

from study.commands.options import RUNS, Runs, Spec
from study.commands.report import read_records, write_report
from study.display.console import progress, results, say
from study.display.pareto_table import print_pareto_table
from study.display.progress import Display
from study.display.tables import duration
from study.ledger import reader
from study.ledger.reader import Record
from study.ledger.status import Status
from study.plan import planner
from study.plan.planner import Study
from study.progress import estimate
from study.running import ray_session
from study.running.outcome import Outcome
from study.search.samples import with_recorded

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
    announcement = _Announcement()
    outcome = run_study(planner.load(spec, runs), announcement.show)
    planned = outcome.study
    _print_overhead(outcome)
    announcement.compare(outcome)
    if outcome.cut_short:
        say(outcome.cut_short)
    if outcome.hours_spent:
        say(str(planned.spec.error(("max_gpu_hours",), outcome.hours_spent)))
    if outcome.not_uploaded:
        say(
            f"MLflow lacks some of the results ({outcome.not_uploaded}); they are in "
            f"{planned.directory}, and the same command delivers them without training again"
        )
        raise typer.Exit(1)
    records = outcome.records if outcome.changed_nothing else read_records(planned)
    planned = with_recorded(planned, records)
    write_report(planned, records)
    print_pareto_table(results, planned, records)
    states = Counter(reader.states(planned, records).values())
    del states[Status.FINISHED], states[Status.STOPPED]
    if states:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        say(
            f"not finished: {counts}; for causes: python -m study status {spec}, for tracebacks: "
            f"python -m study logs {spec} POINT"
        )
        raise typer.Exit(1)


class _Announcement:
    """The time that a launch is expected to take here, said before it starts and at its end."""

    def __init__(self) -> None:
        self._expected = 0.0

    def show(self, study: Study, records: dict[str, Record]) -> Display:
        """Announce the time, where this machine's CPUs train all there is to train; return the
        launch's display."""
        resources, load = study.spec.value.resources, os.getloadavg()[0]
        on_cpus_here = ray_session.starts_here() and not resources.gpus_per_worker
        if on_cpus_here and not study.searched:  # how many samples a search draws is not known
            seconds, basis = estimate.point_seconds(study.points, records, resources)
            if seconds:
                idle = estimate.wall_seconds(study.points, records, seconds, resources)
                self._expected = idle * estimate.crowding(load, resources)
                say(
                    f"expected here: about {duration(self._expected)}, {estimate.slots(resources)} "
                    f"points at a time beside a load of {load:.1f} ({duration(idle)} on an idle "
                    f"machine); by {basis}"
                )
        return Display(progress, study, records)

    def compare(self, outcome: Outcome) -> None:
        """Say what the launch has taken beside what was expected, where it ran to its end."""
        if self._expected and outcome.results and not outcome.stopped:
            taken = duration(time.perf_counter() - START)
            say(f"taken: {taken}; expected: {duration(self._expected)}")


def _print_overhead(outcome: Outcome) -> None:
    """Print this command's wall time, and how much of it a slot has trained."""
    if outcome.uploaded:
        say(f"results of an earlier launch, delivered to MLflow now: {outcome.uploaded}")
    elif not outcome.slots:
        say("nothing to run: every point has ended")
    if not outcome.results:
        return
    count = len(outcome.results)
    wall, training = time.perf_counter() - START, outcome.train_seconds
    say(
        f"{count} point{'s' if count > 1 else ''} in {duration(wall)}, {outcome.slots} at a time; "
        f"overhead {wall * outcome.slots / training:.2f}: of {wall:.0f} s, "
        f"{training / outcome.slots:.0f} s were training"
    )
