"""`study status`, `study ui` and `study doctor`: how a study, and the machine for it, stand."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from study.commands.options import RUNS, Json, Runs, Spec, results, say
from study.display.status import print_status
from study.display.status import watch as show_anew
from study.ledger import reader
from study.plan import planner
from study.progress import overview
from study.progress.overview import Overview
from study.search.samples import with_recorded
from workloads.errors import InputError


def status(
    spec: Spec,
    watch: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Show it anew so often, until all is done."),
    ] = None,
    as_json: Json = False,
    runs: Runs = RUNS,
) -> None:
    """Show how a study stands: each point, FLOPs and hours against the plan, ETA, interim fits.

    Works on any machine that reaches the ledger.

    \b
    Examples:
      python -m study status study/specs/quickstart.yaml
      python -m study status study/specs/quickstart.yaml --watch 5
    """
    planned = planner.load(spec, runs)

    def look() -> Overview:
        records = reader.read(reader.tracking_uri(runs), planned.name)
        return overview.look(with_recorded(planned, records), records)

    now = look()
    try:
        reader.check_identities(planned.points, now.records)
    except InputError as error:  # the study's own machine may have other data than this one
        say(f"note: {error}")
    if as_json:
        print(json.dumps(now.as_json(), indent=1))
    elif watch:
        with suppress(KeyboardInterrupt):
            show_anew(results, look, watch)
    else:
        print_status(results, now)


def ui(spec: Spec, runs: Runs = RUNS) -> None:
    """Open MLflow's pages on a study: its runs, with the columns that vary between them.

    Serves a local ledger on this machine's loopback address until Ctrl-C; of a ledger on a
    server, shows the address.

    \b
    Example:
      python -m study ui study/specs/quickstart.yaml
    """
    from study.display.ui import open_ui

    open_ui(planner.load(spec, runs))


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
