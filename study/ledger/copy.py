"""Copying whole runs of points from one ledger to another.

Every value of every metric keeps its step and its time, so that a copy equals its original to the
last digit.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Run

from analysis.tables import tracking
from analysis.tables.tracking import LedgerError
from study.ledger import reader, store
from study.ledger.lease import Lease
from study.ledger.provenance import Provenance
from study.ledger.status import Status
from study.ledger.writer import Tracker, log_metrics, log_params
from workloads.errors import InputError
from workloads.files import exclusive

PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class MetricValue:
    """One value of one metric; `timestamp_ms` is since 1970."""

    metric: str
    step: int
    timestamp_ms: int
    value: float


@dataclass(frozen=True)
class StoredRun:
    """A point's run, with all that MLflow stores of it but MLflow's own tags.

    `end_status` is MLflow's word for how it ended; times are in ms since 1970. `inputs` are the
    texts, each with MLflow's fields of a dataset and the tags of the input under `tags`.
    """

    end_status: str
    start_ms: int
    end_ms: int | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[MetricValue]
    inputs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def point_id(self) -> str:
        return self.tags["point_id"]


def experiment_id(client: MlflowClient, name: str) -> str:
    """Return the experiment's id. Raises InputError when there is none of that name."""
    if found := reader.find_experiment(client, name):
        return found
    known = ", ".join(sorted(found.name for found in client.search_experiments())) or "none"
    place = tracking.shown(client.tracking_uri)
    raise InputError(f"{place} has no experiment {name}; it has: {known}")


def read(client: MlflowClient, name: str) -> Iterator[StoredRun]:
    """Yield the runs of an experiment's points, deleted runs excepted."""
    for run in tracking.find_runs(client, experiment_id(client, name), reader.OF_POINTS):
        yield StoredRun(
            end_status=run.info.status,
            start_ms=run.info.start_time,
            end_ms=run.info.end_time,
            tags={k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
            params=run.data.params,
            metrics=list(_history(client, run)),
            inputs=[
                dict(each.dataset) | {"tags": {tag.key: tag.value for tag in each.tags}}
                for each in (run.inputs.dataset_inputs if run.inputs else ())
            ],
        )


def parent_id(client: MlflowClient, name: str) -> str:
    """Return the id of the study's own run. Raises LedgerError when someone has deleted it."""
    number = experiment_id(client, name)
    for run in tracking.find_runs(client, number, reader.OF_STUDY):
        return run.info.run_id
    lost = {
        run.data.tags["mlflow.parentRunId"]
        for run in tracking.find_runs(client, number, reader.OF_POINTS)
        if "mlflow.parentRunId" in run.data.tags
    }
    restore = (
        tracking.command(client.tracking_uri, f"runs restore --run-id {run}") for run in lost
    )
    raise LedgerError(
        f"the own run of study {name}, which has its file and provenance, was deleted in MLflow",
        f"restore it: {' or '.join(restore)}",
    )


@contextmanager
def exclusive_tracker(
    name: str, runs_dir: Path, spec_text: str, provenance: Provenance, complete: bool
) -> Iterator[Tracker]:
    """Open a study's ledger for writing while no driver can run the study; make it if it is new.

    `complete` says whether every point of the study has ended when this is left. Raises InputError
    while the study runs, here or on another machine.
    """
    uri = store.tracking_uri(runs_dir)
    with exclusive((runs_dir / name).resolve(), PATIENCE_SECONDS), tracking.explained(uri):
        tracker = Tracker(uri, name, runs_dir, spec_text, provenance)
        lease = Lease(tracker.client, tracker.parent_id, name)
        lease.take()
        try:
            yield tracker
        finally:
            tracker.close(complete)
            lease.release()


def write(tracker: Tracker, runs: Iterable[StoredRun]) -> None:
    """Add runs to the tracker's study, as children of the study's own run."""
    experiment = tracker.client.get_run(tracker.parent_id).info.experiment_id
    for run in runs:
        _write(tracker.client, experiment, tracker.parent_id, run)


def _write(client: MlflowClient, experiment: str, parent: str, run: StoredRun) -> None:
    created = client.create_run(
        experiment,
        start_time=run.start_ms,
        run_name=run.point_id,
        # Its status comes last: a copy that was cut short is not taken for a finished run.
        tags=run.tags | {"mlflow.parentRunId": parent, "status": Status.INTERRUPTED},
    )
    run_id = created.info.run_id
    client.log_inputs(run_id, [_input(**each) for each in run.inputs])
    log_params(client, run_id, run.params)
    metrics = [Metric(m.metric, m.value, m.timestamp_ms, m.step) for m in run.metrics]
    log_metrics(client, run_id, metrics)
    client.set_terminated(run_id, run.end_status, run.end_ms)
    client.set_tag(run_id, "status", run.tags["status"])


def _input(tags: dict[str, str], **dataset: str) -> DatasetInput:
    return DatasetInput(Dataset(**dataset), [InputTag(*tag) for tag in tags.items()])


def audit_tags(action: str, detail: str) -> dict[str, str]:
    """Return tags that say what was done to a run, when and by whom.

    For the action `adopted_from` they are `adopted_from`, `adopted_at` and `adopted_by`.
    """
    verb = action.partition("_")[0]
    return {
        action: detail,
        f"{verb}_at": datetime.now(UTC).isoformat(timespec="seconds"),
        f"{verb}_by": f"{_user()}@{platform.node()}",
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number only
        return str(os.getuid())


def _history(client: MlflowClient, run: Run) -> Iterator[MetricValue]:
    for key in sorted(run.data.metrics):
        for metric in client.get_metric_history(run.info.run_id, key):
            yield MetricValue(key, metric.step, metric.timestamp, metric.value)
