"""What MLflow holds of a study, read fast: every command looks here before anything else.

Importing MLflow's client takes most of two seconds. A local SQLite ledger is therefore read
directly, from MLflow's tables of runs, tags, latest metrics and parameters. People can edit what
MLflow holds: a record that they left without sense is a LedgerError.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.tables import tracking
from analysis.tables.tracking import LedgerError
from study.ledger.lease import Holder, holder
from study.ledger.status import ENDED, Status
from study.ledger.store import tracking_uri
from study.plan.planner import Study
from workloads.errors import InputError
from workloads.files import exclusive

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
        """How the point stands. Raises LedgerError where someone has edited that."""
        status = self.tag("status")
        if status not in set(Status):
            raise self._edited(f"has the status {status!r}, which is none of {', '.join(Status)}")
        return Status(status)

    @property
    def ended(self) -> bool:
        """Whether running it again could only repeat it."""
        return self.status in ENDED

    def tag(self, name: str) -> str:
        """Return a tag that every run has. Raises LedgerError where someone has deleted it."""
        if name not in self.tags:
            raise self._edited(f"has no tag {name}")
        return self.tags[name]

    def tree(self, name: str) -> dict[str, Any]:
        """Return a tag that holds JSON. Raises LedgerError where someone has edited it."""
        text = self.tag(name)
        try:
            return dict(json.loads(text))
        except (ValueError, TypeError):
            raise self._edited(f"has a tag {name} that is not JSON") from None

    def metric(self, name: str) -> float:
        """Return a metric of a finished run. Raises LedgerError where the run has none."""
        if name not in self.metrics:
            raise self._edited(f"is {self.status} and has no metric {name}")
        return self.metrics[name]

    def _edited(self, what: str) -> LedgerError:
        return tracking.edited(self.run_id, self.tags["point_id"], what)


def read(uri: str, study: str, with_params: bool = False) -> dict[str, Record]:
    """Return the study's points that have a run, by point id; none when there is no ledger yet.

    Parameters are the larger part of a ledger: `with_params` says whether they are read, too.
    Raises LedgerError when the ledger or the study's experiment in it cannot be read.
    """
    runs = [run for run in _runs(uri, study, "", with_params) if "point_id" in run.tags]
    # Restoring an experiment brings back the runs that `drop` had taken out: the others count.
    runs.sort(key=lambda run: "dropped_because" not in run.tags)
    return {run.tags["point_id"]: run for run in runs}


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
        except OSError:  # this user may not write there; a driver elsewhere has the lease
            pass
    driver = _driver(tracking_uri(study.runs_dir), study.name)
    return driver is not None and driver.alive


def _driver(uri: str, study: str) -> Holder | None:
    """Return the driver that holds the study, as the study's own run names it."""
    runs = _runs(uri, study, OF_STUDY)
    tags = next((run.tags for run in runs if run.tags.get("role") == "study"), {})
    return holder(tags)


def _runs(uri: str, study: str, condition: str, with_params: bool = False) -> list[Record]:
    """Return the study's runs; a condition in MLflow's filter language spares a server some."""
    path = tracking.database(uri)
    if path is None:
        return read_through_client(uri, study, condition)
    return _read_sqlite(uri, path, study, with_params) if path.exists() else []


def _read_sqlite(uri: str, path: Path, study: str, with_params: bool) -> list[Record]:
    with tracking.connected(path) as connection:
        connection.execute("BEGIN")  # all that follows is of one moment
        experiment = _experiment(connection, uri, study)
        if experiment is None:
            return []
        runs = {run_id: Record(run_id) for (run_id,) in _query(connection, "runs", "", experiment)}
        for run_id, key, value in _query(connection, "tags", ", t.key, t.value", experiment):
            runs[run_id].tags[key] = value
        columns = ", t.key, t.value, t.is_nan"
        for run_id, key, value, is_nan in _query(connection, "latest_metrics", columns, experiment):
            runs[run_id].metrics[key] = math.nan if is_nan else value
        if with_params:
            for run_id, key, value in _query(connection, "params", ", t.key, t.value", experiment):
                runs[run_id].params[key] = value
    return list(runs.values())


def _experiment(connection: sqlite3.Connection, uri: str, study: str) -> int | None:
    """Return the experiment's id, as `find_experiment` does."""
    found = connection.execute(
        "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?", (study,)
    ).fetchone()
    if found:
        if found[1] == "deleted":
            raise tracking.deleted(uri, study, found[0])
        return found[0]
    renamed = connection.execute(
        "SELECT e.experiment_id, e.name FROM experiments e "
        "JOIN runs r ON r.experiment_id = e.experiment_id AND r.lifecycle_stage = 'active' "
        "JOIN tags role ON role.run_uuid = r.run_uuid AND role.key = 'role' "
        "JOIN tags study ON study.run_uuid = r.run_uuid AND study.key = 'study' "
        "WHERE role.value = 'study' AND study.value = ?",
        (study,),
    ).fetchone()
    if renamed:
        raise _renamed(uri, study, *renamed)
    return None


def _query(
    connection: sqlite3.Connection, table: str, columns: str, experiment: int
) -> Iterator[tuple[Any, ...]]:
    """Return the rows of `table` that belong to the experiment's runs, deleted ones excepted."""
    return connection.execute(
        f"SELECT t.run_uuid{columns} FROM {table} t JOIN runs r ON r.run_uuid = t.run_uuid "
        "WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active'",
        (experiment,),
    )


def read_through_client(uri: str, study: str, condition: str = "") -> list[Record]:
    """Return the study's runs that meet a condition, its own run included, from any MLflow server.

    The condition is in MLflow's filter language.
    """
    with tracking.opened(uri) as client:
        experiment = find_experiment(client, study)
        return [
            Record(run.info.run_id, run.data.tags, run.data.metrics, run.data.params)
            for run in (tracking.find_runs(client, experiment, condition) if experiment else ())
        ]


def find_experiment(client: MlflowClient, study: str) -> str | None:
    """Return the id of the study's experiment, None before its first launch.

    Raises LedgerError when someone has deleted or renamed it.
    """
    if number := tracking.experiment_id(client, study):
        return number
    names = {found.experiment_id: found.name for found in client.search_experiments()}
    own = f"{OF_STUDY} AND tags.study = '{study}'"
    for run in client.search_runs(list(names), own, max_results=1):
        number = run.info.experiment_id
        raise _renamed(client.tracking_uri, study, number, names[number])
    return None


def _renamed(uri: str, study: str, number: str, name: str) -> LedgerError:
    words = f"experiments rename --experiment-id {number} --new-name {study}"
    return LedgerError(
        f"the experiment of study {study} in {tracking.shown(uri)} was renamed to {name}",
        f"rename it back ({tracking.command(uri, words)}), or give the study another name",
    )
