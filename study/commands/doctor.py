"""`study doctor`: whether this machine, the ledger and the cluster are ready for a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from study.commands.options import RUNS, Runs
from study.display.console import results
from study.plan import planner


def doctor(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help="A study file, to check for it too.")
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Check versions, packages, GPUs, ledger, disk, data and cluster; name the cure of a problem.

    With SPEC, also which of its points can never be placed on the cluster, and why. Exit code 1
    when there is a problem.

    \b
    Example:
      python -m study doctor study/specs/paper.yaml
    """
    from study.submit.doctor import examine

    ok = True
    for check in examine(runs, planner.load(spec, runs) if spec else None):
        ok = ok and check.ok
        line = Text("ok       " if check.ok else "problem  ", style="green" if check.ok else "red")
        line.append(f"{check.name}: {check.found}", style="default")
        results.print(line.append(f"; {check.cure}" if check.cure else ""), soft_wrap=True)
    if not ok:
        raise typer.Exit(1)
