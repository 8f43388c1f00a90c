"""Writing the ledger: in MLflow, a study is a parent run and each of its points a nested run.

Only the study's driver writes here. Workers write `metrics.jsonl`, whose rows carry their
timestamps. Uploading a row twice therefore changes nothing, and a driver that takes over from a
dead one uploads all rows of the unfinished points again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from analysis.tables import tracking
from study.ledger import reader, store
from study.ledger.provenance import Provenance
from study.ledger.reader import Record
from study.ledger.status import MLFLOW_STATUS, Status
from study.plan.naming import variant_tag
from study.plan.planner import Point
from workloads.config.fingerprint import IDENTITY_VERSION, flatten
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE
from workloads.run_dir.result import Result

METRICS_PER_BATCH, PARAMS_PER_BATCH = 1000, 100  # MLflow accepts no more
# Of the parameters that say all that changes a run's result. The others are the run table's, under
# the names they have there: `steps` counts the whole run, `config.steps` the steps on fresh tokens.
CONFIG_PREFIX = "config."
# Parameters that a clock decides, if one ends the run.
OF_LENGTH = ("tokens", "passes", "steps", "train_flops")
POSITION = ("step", "timestamp_ms")
LONGEST_CAUSE = 5000  # MLflow accepts no longer tags


def point_params(point: Point) -> dict[str, str]:
    """Return MLflow's parameters of a point: its summary, and its identity as `config.*`.

    Where a clock ends the run, those of its length are recorded when it has ended (`end_point`).
    """
    values = point.summary() | flatten(point.identity, CONFIG_PREFIX)
    if point.config.clock:
        values |= dict.fromkeys(OF_LENGTH)
    return {name: str(value) for name, value in values.items() if value is not None}


def dataset_inputs(point: Point) -> list[DatasetInput]:
    """Return MLflow's records of the texts that a point reads, each once.

    A text's digest is its fingerprint, its context whether it is trained on, and its profile how
    much there is of it.
    """
    sources = [(name, each.found, "training") for name, each in point.text.sources.items()]
    sets = [(name, found, "evaluation") for name, found in point.text.eval_sets.items()]
    inputs: dict[tuple[str, str], DatasetInput] = {}
    for name, found, context in sources + sets:
        entity = Dataset(
            name=name or found.name,
            digest=found.fingerprint,
            source_type="local",
            source=json.dumps({"uri": found.place}),
            profile=json.dumps(asdict(found.size)) if found.size else None,
        )
        tags = [InputTag(MLFLOW_DATASET_CONTEXT, context)]
        inputs.setdefault((entity.name, entity.digest), DatasetInput(entity, tags))
    return [*inputs.values()]


def log_params(client: MlflowClient, run_id: str, params: dict[str, str]) -> None:
    """Record parameters, in as many requests as their number needs."""
    entities = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(entities), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=entities[start : start + PARAMS_PER_BATCH])


def log_metrics(client: MlflowClient, run_id: str, metrics: list[Metric]) -> None:
    """Record values of metrics, in as many requests as their number needs."""
    for start in range(0, len(metrics), METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])


class Tracker:
    """Writes one study's runs. Creating it opens the ledger and the study's own run there."""

    def __init__(
        self, uri: str, study: str, runs_dir: Path, spec_text: str, provenance: Provenance
    ) -> None:
        self._study = study
        self._provenance = provenance
        self._run_ids: dict[str, str] = {}
        self._offsets: dict[str, int] = {}
        # (step, timestamp) of the last row uploaded. A run's totals are logged there, so that
        # logging them again changes nothing.
        self._last_rows: dict[str, tuple[int, int]] = {}
        with store.opened(uri) as self.client:
            # A server has its own place for artifacts.
            local = tracking.database(uri) is not None
            artifacts = (runs_dir / store.ARTIFACTS).resolve().as_uri() if local else None
            self._experiment_id = self._open_experiment(artifacts)
            self.parent_id = self._open_parent(spec_text)

    def start_point(self, point: Point, record: Record | None, continued_from: str = "") -> None:
        """Create the point's run, or go on with the one that an earlier driver left unfinished.

        `continued_from` names the run and the step of the checkpoint that the point begins with;
        it is empty for a point that begins from scratch.
        """
        run_id = record.run_id if record else self._existing_run_id(point)
        if run_id is None:
            tags = self._point_tags(point)
            run = self.client.create_run(self._experiment_id, run_name=point.id, tags=tags)
        else:
            reset = [RunTag("status", Status.RUNNING), RunTag("failure", "")]
            self.client.log_batch(run_id, tags=reset)
            self.client.update_run(run_id, MLFLOW_STATUS[Status.RUNNING])
            run = self.client.get_run(run_id)
        run_id = run.info.run_id
        if not run.data.params:  # new, or its driver was killed in between
            self.client.log_inputs(run_id, dataset_inputs(point))
            log_params(self.client, run_id, point_params(point))
        if continued_from:
            self.client.set_tag(run_id, "continued_from", continued_from)
        self._run_ids[point.id], self._offsets[point.id] = run_id, 0
        self._last_rows[point.id] = 0, run.info.start_time

    def upload_rows(self, point: Point, run_dir: Path) -> None:
        """Upload the rows that the point recorded since the last call."""
        rows, offset = read_rows(run_dir / METRICS_FILE, self._offsets[point.id])
        metrics = [
            Metric(name, value, int(row["timestamp_ms"]), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name not in POSITION
        ]
        log_metrics(self.client, self._run_ids[point.id], metrics)
        self._offsets[point.id] = offset
        if rows:
            self._last_rows[point.id] = int(rows[-1]["step"]), int(rows[-1]["timestamp_ms"])

    def end_point(self, point: Point, result: Result) -> None:
        """Record how the point ended, after its last rows were uploaded."""
        tags = {name: str(value) for name, value in result.environment.items()}
        totals = {
            "train_seconds": result.train_seconds,
            "executed_flops": result.executed_flops,
            "hardware_flops": result.hardware_flops,
        }
        if result.clock_seconds is not None:
            totals["clock_seconds"] = result.clock_seconds
        if point.config.clock:
            taken = point.lasted(result.step).summary()
            lengths = {n: str(taken[n]) for n in OF_LENGTH if taken[n] is not None}
            log_params(self.client, self._run_ids[point.id], lengths)
        self._terminate(point, Status(result.status), tags, totals)

    def fail_point(self, point: Point, cause: str, executed_flops: int) -> None:
        """Record that every attempt at the point failed, why, and the FLOPs of all of them."""
        tags = {"failure": cause[:LONGEST_CAUSE]}
        self._terminate(point, Status.FAILED, tags, {"executed_flops": executed_flops})

    def interrupt_point(self, point: Point, executed_flops: int) -> None:
        """Record that the study was stopped before the point ended, and the FLOPs until then."""
        self._terminate(point, Status.INTERRUPTED, {}, {"executed_flops": executed_flops})

    def close(self, complete: bool) -> None:
        """Mark the study's own run as finished, or as failed when points are missing."""
        self.client.set_terminated(self.parent_id, "FINISHED" if complete else "FAILED")

    def _terminate(
        self, point: Point, status: Status, tags: dict[str, str], totals: dict[str, float]
    ) -> None:
        run_id, (step, timestamp_ms) = self._run_ids[point.id], self._last_rows[point.id]
        run_tags = [RunTag(name, value) for name, value in (tags | {"status": status}).items()]
        metrics = [Metric(name, value, timestamp_ms, step) for name, value in totals.items()]
        self.client.log_batch(run_id, metrics=metrics, tags=run_tags)
        self.client.set_terminated(run_id, MLFLOW_STATUS[status])

    def _existing_run_id(self, point: Point) -> str | None:
        """Return the point's run if it has one, so that a lost answer does not make a second."""
        return self._first(f"tags.point_id = '{point.id}'")

    def _first(self, condition: str) -> str | None:
        """Return the first run that meets a condition in MLflow's filter language."""
        run = next(tracking.find_runs(self.client, self._experiment_id, condition), None)
        return run.info.run_id if run else None

    def _point_tags(self, point: Point) -> dict[str, str]:
        return {
            "mlflow.parentRunId": self.parent_id,
            "study": self._study,
            "point_id": point.id,
            "fingerprint": point.fingerprint,
            "identity": json.dumps(point.identity),
            "identity_version": str(IDENTITY_VERSION),
            "variant": variant_tag(point.variant),
            "status": Status.RUNNING,
            "commit": self._provenance.commit,
            "dirty": str(self._provenance.dirty),
        }

    def _open_experiment(self, artifacts: str | None) -> str:
        """Return the id of the study's experiment, made if it is new."""
        if found := reader.find_experiment(self.client, self._study):
            return found
        try:
            return self.client.create_experiment(self._study, artifacts)
        except MlflowException:  # another driver of the study may have been quicker
            if found := reader.find_experiment(self.client, self._study):
                return found
            raise

    def _open_parent(self, spec_text: str) -> str:
        """Return the study's own run, which gets the spec and this launch's provenance."""
        run_id = self._first(reader.OF_STUDY)
        if run_id:
            self.client.update_run(run_id, MLFLOW_STATUS[Status.RUNNING])
        else:
            tags = {"role": "study", "study": self._study}
            run = self.client.create_run(self._experiment_id, run_name=self._study, tags=tags)
            run_id = run.info.run_id
        self.client.log_text(run_id, spec_text, "spec.yaml")
        provenance = asdict(self._provenance)
        self.client.log_text(run_id, provenance.pop("diff"), "uncommitted.diff")
        self.client.log_text(run_id, json.dumps(provenance, indent=1), "provenance.json")
        self.client.log_batch(run_id, tags=[RunTag("commit", self._provenance.commit)])
        return run_id
