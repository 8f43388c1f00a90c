"""`study doctor`: whether this machine, the ledger and the cluster are ready for a study."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from study.commands.options import RUNS, Json, Runs
from study.display.console import results
from study.plan import planner

if TYPE_CHECKING:
    from study.submit.doctor import Check


def doctor(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help="A study file, to check for it too.")
    ] = None,
    machine: Annotated[
        bool, typer.Option("--machine", help="This machine alone: no ledger, no cluster.")
    ] = False,
    as_json: Json = False,
    runs: Runs = RUNS,
) -> None:
    """Check versions, packages, GPUs, disk, data, ledger and cluster; name the cure of a problem.

    With SPEC, also which of its points can never be placed on the cluster, and why. Exit code 1
    when there is a problem. `python -m cluster preflight` asks every node of a cluster.

    \b
    Example:
      python -m study doctor study/specs/paper.yaml
    """
    from study.submit import doctor

    examine = doctor.examine_machine if machine else doctor.examine
    checks = examine(runs, planner.load(spec, runs) if spec else None)
    ok = _print_json([*checks]) if as_json else _print_lines(checks)
    if not ok:
        raise typer.Exit(1)


def _print_json(checks: list[Check]) -> bool:
    """Print the checks for machines; return whether all is well."""
    print(json.dumps([asdict(check) | {"ok": check.ok} for check in checks], indent=1))
    return all(check.ok for check in checks)


def _print_lines(checks: Iterable[Check]) -> bool:
    """Print each check when it is done; return whether all is well."""
    ok = True
    for check in checks:
        ok = ok and check.ok
        line = Text("ok       " if check.ok else "problem  ", style="green" if check.ok else "red")
        line.append(f"{check.name}: {check.found}", style="default")
        results.print(line.append(f"; {check.cure}" if check.cure else ""), soft_wrap=True)
    return ok
