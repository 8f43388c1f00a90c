"""The commands of `python -m cluster`: is it ready, and what is to be done if not."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.preflight import Finding, Mistake, Request, examine

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def cluster() -> None:
    """Checks of a cluster on which studies are to run.

    \b
    Example:
      python -m cluster preflight study/specs/paper.yaml --runs /shared/runs
    """


@app.command()
def preflight(
    spec: Annotated[
        Path | None,
        typer.Argument(metavar="[SPEC]", help="A study file, to check for it too."),
    ] = None,
    runs: Annotated[
        Path, typer.Option(envvar="STUDY_RUNS", help="The runs folder that all nodes share.")
    ] = Path("runs"),
    nodes: Annotated[
        int, typer.Option(min=1, help="Wait until so many nodes have joined, 5 minutes at most.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Ask every node of the Ray cluster at RAY_ADDRESS, or this machine, whether it is ready.

    Code and versions, GPUs and their memory, disk, data and ledger, the runs folder written here
    and read there, clocks, and an all-reduce with its bandwidth. Every problem has its cure beside
    it. Exit code 0 when there is none, 1 when there is one, 2 for a wrong argument.

    \b
    Example:
      python -m cluster preflight study/specs/paper.yaml --runs /shared/runs
    """
    found: list[Finding] = []
    _send_token()
    try:
        for finding in examine(Request(spec, runs.resolve(), nodes)):
            found.append(finding)
            if not as_json:
                print(_line(finding), flush=True)
    except Mistake as mistake:
        print(mistake, file=sys.stderr)
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps([asdict(each) | {"ok": each.ok} for each in found], indent=1))
    if not all(each.ok for each in found):
        raise typer.Exit(1)


def _line(finding: Finding) -> str:
    cure = f"; {finding.cure}" if finding.cure else ""
    state = "ok     " if finding.ok else "problem"
    return f"{state}  {finding.name} ({finding.where}): {finding.found}{cure}"


def _send_token() -> None:
    """Have Ray send the cluster's token, if there is one where Ray looks; before its import."""
    given = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    if given or os.path.exists(os.path.expanduser("~/.ray/auth_token")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
