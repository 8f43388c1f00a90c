"""`study logs`: what the attempts at a point left, tracebacks and output in full."""

from __future__ import annotations

from typing import Annotated

import typer

from kernels.nearest import nearest_name
from study.commands.options import RUNS, Runs, Spec
from study.display.console import say
from study.plan import planner
from study.plan.planner import Study
from study.running import failures
from study.running.failures import Trace
from workloads.errors import InputError


def logs(
    spec: Spec,
    point: Annotated[
        str | None,
        typer.Argument(metavar="[POINT]", help="As `study status` shows it; without, a list."),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Show why attempts at a point failed, with the whole traceback, and what they printed.

    The newest attempt is last. Without POINT, list the points whose attempts have left anything.
    Everything is read from the points' directories under --runs.

    \b
    Example:
      python -m study logs study.yaml nano-dense-c7.85e11-seed0
    """
    planned = planner.load(spec, runs)
    if point is None:
        _list(planned)
        return
    _check_known(planned, point)
    run_dir = planned.points_dir / point
    traces = failures.read(run_dir)
    if not traces:
        say(f"no attempt at {point} has failed or printed anything in {run_dir}")
    for trace in traces:
        print(_text(trace))


def _list(study: Study) -> None:
    """Print each point with something to show, and the cause of its last failure."""
    found = {path.name: failures.read(path) for path in sorted(study.points_dir.glob("*"))}
    for point, traces in found.items():
        causes = [trace.failure.cause for trace in traces if trace.failure]
        if traces:
            print(f"{point}  {causes[-1] if causes else 'printed something, and did not fail'}")
    if not any(found.values()):
        say(f"no attempt at a point of {study.name} has failed or printed anything")


def _check_known(study: Study, point: str) -> None:
    """Raise InputError for a point that is neither planned nor has a directory."""
    known = {planned.id for planned in study.points}
    known |= {path.name for path in study.points_dir.glob("*") if path.is_dir()}
    if point not in known:
        hint = f"; the nearest is {nearest_name(point, known)}" if known else ""
        raise InputError(f"{study.name} has no point {point}{hint}")


def _text(trace: Trace) -> str:
    """Return a heading, the traceback and the output of one process of one attempt."""
    lines = [f"attempt {trace.attempt}, {trace.process}"]
    if failure := trace.failure:
        lines[0] += f" on {failure.host}, {failure.time}, last recorded step {failure.step}"
        lines += [failure.cause, failure.traceback.rstrip()]
    if trace.output:
        lines += ["printed:", trace.output.rstrip()]
    return "\n".join(lines) + "\n"
