"""What MLflow holds of a study, read fast: every command looks here before anything else.

Importing MLflow's client takes most of two seconds. A local SQLite ledger is therefore read
directly, from MLflow's tables of runs, tags, latest metrics and parameters.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.ledger.lease import Holder, holder
from study.ledger.status import ENDED, Status
from study.plan.planner import Study
from workloads.errors import InputError
from workloads.run_dir.lock import exclusive

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SQLITE = "sqlite:///"
# MLflow's own defaults have a call to a server that is away last four minutes.
CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
ANSWER_SECONDS = 5.0
RUNS_PER_PAGE = 1000
# Conditions in MLflow's filter language: the study's own run, and those of its points.
OF_STUDY, OF_POINTS = "tags.role = 'study'", "tags.point_id LIKE '%'"


@dataclass(frozen=True)
class Record:
    """One point as MLflow holds it: tags, and the latest value of each metric.

    `params` are empty where `read` was not asked for them.
    """

    run_id: str
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        return Status(self.tags["status"])

    @property
    def ended(self) -> bool:
        """Whether running it again could only repeat it."""
        return self.status in ENDED


def tracking_uri(runs_dir: Path) -> str:
    """Return `MLFLOW_TRACKING_URI`, or the SQLite database under `runs_dir`."""
    default = f"{SQLITE}{(runs_dir / 'mlflow.db').resolve()}"
    return os.environ.get("MLFLOW_TRACKING_URI") or default


def client(uri: str) -> MlflowClient:
    """Return MLflow's client, which gives up in seconds. Raises InputError if no server answers."""
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its notes on each try
    if uri.startswith(("http://", "https://")):
        _check_answers(uri)
    from mlflow import MlflowClient

    return MlflowClient(uri)


def _check_answers(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer, too
    except OSError as error:
        raise _unreachable(uri, str(getattr(error, "reason", error))) from None


def _unreachable(uri: str, reason: str) -> InputError:
    return InputError(
        f"MLflow at {uri} does not answer ({reason}); start it, or correct MLFLOW_TRACKING_URI"
    )


@contextmanager
def outage_explained(uri: str) -> Iterator[None]:
    """Turn an error of MLflow into an InputError that names the server and the reason."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise _unreachable(uri, str(error).splitlines()[0]) from error


def read(uri: str, study: str, with_params: bool = False) -> dict[str, Record]:
    """Return the study's points that have a run, by point id; none when there is no ledger yet.

    Parameters are the larger part of a ledger: `with_params` says whether they are read, too.
    """
    if uri.startswith(SQLITE):
        runs = _read_sqlite(Path(uri.removeprefix(SQLITE)), study, with_params)
    else:
        with outage_explained(uri):
            runs = read_through_client(uri, study)
    return {run.tags["point_id"]: run for run in runs if "point_id" in run.tags}


def states(study: Study, records: dict[str, Record]) -> dict[str, str]:
    """Return the state of every planned point by id: its record's status, or `queued`.

    A record says `running` until its driver says otherwise. Where the study has no live driver,
    here or on another machine, such a point is `interrupted`.
    """
    running = any(record.status == Status.RUNNING for record in records.values())
    alive = running and _is_driven(study)
    return {point.id: _state(records.get(point.id), alive) for point in study.points}


def _state(record: Record | None, driver_alive: bool) -> Status:
    if record is None:
        return Status.QUEUED
    if record.status == Status.RUNNING and not driver_alive:
        return Status.INTERRUPTED
    return record.status


def _is_driven(study: Study) -> bool:
    if study.directory.exists():
        try:
            with exclusive(study.directory, patience_seconds=0):
                pass
        except InputError:
            return True
    driver = _driver(tracking_uri(study.runs_dir), study.name)
    return driver is not None and driver.alive


def _driver(uri: str, study: str) -> Holder | None:
    """Return the driver that holds the study, as the study's own run names it."""
    if uri.startswith(SQLITE):
        runs = _read_sqlite(Path(uri.removeprefix(SQLITE)), study)
    else:
        with outage_explained(uri):
            runs = read_through_client(uri, study, OF_STUDY)
    tags = next((run.tags for run in runs if run.tags.get("role") == "study"), {})
    return holder(tags)


def _read_sqlite(path: Path, study: str, with_params: bool = False) -> list[Record]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        runs = {run_id: Record(run_id) for (run_id,) in _query(connection, "runs", "", study)}
        for run_id, key, value in _query(connection, "tags", ", t.key, t.value", study):
            runs[run_id].tags[key] = value
        columns = ", t.key, t.value, t.is_nan"
        for run_id, key, value, is_nan in _query(connection, "latest_metrics", columns, study):
            runs[run_id].metrics[key] = math.nan if is_nan else value
        if with_params:
            for run_id, key, value in _query(connection, "params", ", t.key, t.value", study):
                runs[run_id].params[key] = value
    return list(runs.values())


def _query(
    connection: sqlite3.Connection, table: str, columns: str, study: str
) -> Iterator[tuple[Any, ...]]:
    """Return the rows of `table` that belong to the study's runs, deleted ones excepted."""
    return connection.execute(
        f"SELECT t.run_uuid{columns} FROM {table} t "
        "JOIN runs r ON r.run_uuid = t.run_uuid "
        "JOIN experiments e ON e.experiment_id = r.experiment_id "
        "WHERE e.name = ? AND r.lifecycle_stage = 'active'",
        (study,),
    )


def read_through_client(uri: str, study: str, condition: str = "") -> list[Record]:
    """Return the study's runs that meet a condition, its own run included, from any MLflow server.

    The condition is in MLflow's filter language.
    """
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name(study)
    if experiment is None:
        return []
    return [
        Record(run.info.run_id, run.data.tags, run.data.metrics, run.data.params)
        for run in find_runs(mlflow, experiment.experiment_id, condition)
    ]


def find_runs(mlflow: MlflowClient, experiment_id: str, condition: str) -> Iterator[Run]:
    """Yield all runs of an experiment that meet a condition in MLflow's filter language."""
    token: str | None = None
    while True:
        page = mlflow.search_runs(
            [experiment_id], condition, max_results=RUNS_PER_PAGE, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return
