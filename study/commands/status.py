"""`study status`: the state of a study, once or again and again."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated

import typer

from study.commands.options import RUNS, Json, Runs, Spec
from study.display.console import results, say
from study.display.status import print_status, repeat_status
from study.ledger import reader
from study.ledger.identities import check_identities
from study.ledger.store import tracking_uri
from study.plan import planner
from study.progress import overview
from study.progress.overview import Overview
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

    def current() -> Overview:
        records = reader.read(tracking_uri(runs), planned.name)
        return overview.summarize(planned, records)

    now = current()
    try:
        check_identities(now.study.points, now.records)
    except InputError as error:  # the study's own machine may have other data than this one
        say(f"note: {error}")
    if as_json:
        print(json.dumps(now.as_json(), indent=1))
    elif watch:
        with suppress(KeyboardInterrupt):
            repeat_status(results, current, watch)
    else:
        print_status(results, now)
