"""MLflow: one parent run a study, one nested run a point; it is the ledger of what is finished.

Only the study's driver writes here. Workers write `metrics.jsonl`, whose rows carry their
timestamps; delivering a row twice therefore changes nothing, and a driver that takes over from a
dead one simply delivers all rows of its unfinished points again.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from study.ledger import SQLITE, Record
from study.plan import Point
from study.provenance import Provenance
from workloads.config import flatten
from workloads.record import METRICS_FILE, Result, Row, read_rows

# Its notes on creating tables would stand between the lines of progress.
logging.getLogger("mlflow").setLevel(logging.WARNING)

METRICS_PER_BATCH = 1000  # MLflow accepts no more
POSITION = ("step", "timestamp_ms")
MLFLOW_STATUS: dict[str, str] = {
    "finished": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}


class Tracker:
    """Writes one study's runs. Creating it opens the store and the parent run."""

    def __init__(
        self, uri: str, study: str, runs_dir: Path, spec_text: str, provenance: Provenance
    ) -> None:
        self._client = MlflowClient(uri)
        self._study = study
        self._provenance = provenance
        self._run_ids: dict[str, str] = {}
        self._offsets: dict[str, int] = {}
        local = uri.startswith(SQLITE)  # a server has its own place for artifacts
        artifacts = (runs_dir / "mlartifacts").resolve().as_uri() if local else None
        existing = self._client.get_experiment_by_name(study)
        self._experiment_id = (
            existing.experiment_id if existing else self._client.create_experiment(study, artifacts)
        )
        self._parent_id = self._open_parent(spec_text)

    def start_point(self, point: Point, record: Record | None) -> None:
        """Create the point's run, or take up the one that an earlier driver left unfinished."""
        if record is None:
            tags = self._point_tags(point)
            run = self._client.create_run(self._experiment_id, run_name=point.id, tags=tags)
        else:
            reset = [RunTag("status", "running"), RunTag("failure", "")]
            self._client.log_batch(record.run_id, tags=reset)
            self._client.update_run(record.run_id, "RUNNING")
            run = self._client.get_run(record.run_id)
        run_id = run.info.run_id
        if not run.data.params:  # new, or its driver was killed in between
            values = point.summary() | flatten(point.identity)
            params = [Param(k, str(v)) for k, v in values.items() if v is not None]
            self._client.log_batch(run_id, params=params)
        self._run_ids[point.id], self._offsets[point.id] = run_id, 0

    def deliver(self, point: Point, run_dir: Path) -> list[Row]:
        """Send the rows recorded since the last call to MLflow, and return them."""
        rows, offset = read_rows(run_dir / METRICS_FILE, self._offsets[point.id])
        metrics = [
            Metric(name, value, int(row["timestamp_ms"]), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name not in POSITION
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            batch = metrics[start : start + METRICS_PER_BATCH]
            self._client.log_batch(self._run_ids[point.id], metrics=batch)
        self._offsets[point.id] = offset
        return rows

    def end_point(self, point: Point, result: Result) -> None:
        """Record how the point ended, after its last rows were delivered."""
        metric = Metric("train_seconds", result.train_seconds, _now_ms(), result.step)
        tags = {name: str(value) for name, value in result.environment.items()}
        self._terminate(point, tags | {"status": result.status}, [metric])

    def fail_point(self, point: Point, cause: str) -> None:
        """Record that every attempt at the point failed, and why."""
        self._terminate(point, {"status": "failed", "failure": cause[:5000]}, [])

    def interrupt_point(self, point: Point) -> None:
        """Record that the study was stopped before the point ended."""
        self._terminate(point, {"status": "interrupted"}, [])

    def close(self, complete: bool) -> None:
        """Mark the study's own run as finished, or as failed when points are missing."""
        self._client.set_terminated(self._parent_id, "FINISHED" if complete else "FAILED")

    def _terminate(self, point: Point, tags: dict[str, str], metrics: list[Metric]) -> None:
        run_id = self._run_ids[point.id]
        run_tags = [RunTag(name, value) for name, value in tags.items()]
        self._client.log_batch(run_id, metrics=metrics, tags=run_tags)
        self._client.set_terminated(run_id, MLFLOW_STATUS[tags["status"]])

    def _point_tags(self, point: Point) -> dict[str, str]:
        return {
            "mlflow.parentRunId": self._parent_id,
            "study": self._study,
            "point_id": point.id,
            "fingerprint": point.fingerprint,
            "identity": json.dumps(point.identity),
            "status": "running",
            "commit": self._provenance.commit,
            "dirty": str(self._provenance.dirty),
        }

    def _open_parent(self, spec_text: str) -> str:
        """The study's own run, with the spec and the provenance of this launch as artifacts."""
        found = self._client.search_runs([self._experiment_id], "tags.role = 'study'")
        if found:
            run_id = found[0].info.run_id
            self._client.update_run(run_id, "RUNNING")
        else:
            tags = {"role": "study", "study": self._study}
            run = self._client.create_run(self._experiment_id, run_name=self._study, tags=tags)
            run_id = run.info.run_id
        self._client.log_text(run_id, spec_text, "spec.yaml")
        provenance = asdict(self._provenance)
        self._client.log_text(run_id, provenance.pop("diff"), "uncommitted.diff")
        self._client.log_text(run_id, json.dumps(provenance, indent=1), "provenance.json")
        self._client.log_batch(run_id, tags=[RunTag("commit", self._provenance.commit)])
        return run_id


def _now_ms() -> int:
    return int(time.time() * 1000)
