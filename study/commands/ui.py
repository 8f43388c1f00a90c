"""`study ui`: MLflow's pages on a study."""

from __future__ import annotations

from study.commands.options import RUNS, Runs, Spec
from study.plan import planner


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
