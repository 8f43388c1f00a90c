"""Where the ledger of a runs folder is, and how it is made: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.tables import tracking
from kernels.files import sync_folder
from workloads.files import exclusive

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILE, ARTIFACTS = "mlflow.db", "mlartifacts"
# How long a driver waits for another one that makes the same ledger.
MAKING_SECONDS = 120.0


def tracking_uri(runs_dir: Path) -> str:
    """Return `MLFLOW_TRACKING_URI`, or that of the SQLite database under `runs_dir`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or tracking.address((runs_dir / FILE).resolve())


@contextmanager
def opened(uri: str) -> Iterator[MlflowClient]:
    """Open a ledger for writing; an SQLite database that is not there yet is made first.

    Raises LedgerError when that is not possible, and for what MLflow raises within the context.
    """
    path = tracking.database(uri)
    if path is not None and not path.exists():
        _make(path)
    with tracking.opened(uri) as client:
        yield client


def _make(path: Path) -> None:
    """Make an empty ledger under another name, and give it its own once it is whole.

    MLflow makes its tables one by one, for seconds. A process that is killed meanwhile leaves a
    file that nobody takes for a ledger, and the next one makes it anew; a second process waits.
    """
    with exclusive(path.parent, MAKING_SECONDS):
        if path.exists():
            return
        unfinished = path.with_name(f".{path.name}.unfinished")
        for suffix in ("", "-journal"):
            unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
        uri = tracking.address(unfinished)
        with tracking.explained(uri):
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            SqlAlchemyStore(uri, (path.parent / ARTIFACTS).as_uri()).engine.dispose()
        unfinished.rename(path)
        sync_folder(path.parent)
