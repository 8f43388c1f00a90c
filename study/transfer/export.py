"""Exporting a study as one folder, for people without its ledger, and importing it again.

runs.csv           one row a run: `python -m analysis fit FOLDER/runs.csv` reads it
metrics.csv        every recorded value of every metric, with its step and time
points.json        what else MLflow holds of each point's run: tags, parameters, times
configs.json       by point, all that changes its result
spec.yaml, provenance.json, uncommitted.diff    of the study's last launch
"""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from analysis.tables import tracking
from kernels.files import naming, write_atomically
from study.ledger import copy, reader, store
from study.ledger.copy import MetricValue, StoredRun
from study.ledger.provenance import Provenance
from study.plan.planner import Study
from study.search.samples import with_recorded
from study.transfer import report
from workloads.errors import InputError

RUNS_FILE, METRICS_FILE = "runs.csv", "metrics.csv"
POINTS_FILE, CONFIGS_FILE = "points.json", "configs.json"
# Artifacts of the study's own run, under the same names here.
SPEC_FILE, PROVENANCE_FILE, DIFF_FILE = "spec.yaml", "provenance.json", "uncommitted.diff"
METRIC_COLUMNS = ("point_id", *(field.name for field in fields(MetricValue)))


def export_study(study: Study, out: Path) -> int:
    """Write the study's recorded runs to the folder `out`; return how many there are.

    Raises InputError when `out` holds something or the study has no runs.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new folder")
    uri = store.tracking_uri(study.runs_dir)
    records = reader.read(uri, study.name, with_params=True)
    if not records:
        place = tracking.shown(uri)
        raise InputError(f"study {study.name} has no runs in {place}; there is nothing to export")
    with store.opened(uri) as client:
        runs = sorted(copy.read(client, study.name), key=lambda run: run.point_id)
        parent = copy.parent_id(client, study.name)
    out.mkdir(parents=True, exist_ok=True)
    with naming(out):
        report.table(with_recorded(study, records), records).to_csv(
            out / RUNS_FILE, index=False, lineterminator="\n"
        )
        _write_metrics(out / METRICS_FILE, runs)
        points = [{k: v for k, v in asdict(run).items() if k != "metrics"} for run in runs]
        _write_json(out / POINTS_FILE, points)
        configs = {point: record.tree("identity") for point, record in records.items()}
        _write_json(out / CONFIGS_FILE, configs)
        _copy_artifacts(client, parent, out)
    return len(runs)


def import_study(folder: Path, runs_dir: Path) -> tuple[str, int]:
    """Read an exported folder into the ledger; return the study's name and the runs added.

    Runs that the ledger holds already are left as they are. Raises InputError when the folder is
    not one that `export_study` wrote, or a point is recorded with another meaning.
    """
    runs = _read_runs(folder)
    name, uri = runs[0].tags["study"], store.tracking_uri(runs_dir)
    records = reader.read(uri, name)
    for run in runs:
        record = records.get(run.point_id)
        if record and record.tag("fingerprint") != run.tags["fingerprint"]:
            raise InputError(
                f"{run.point_id} is recorded in {tracking.shown(uri)} with another fingerprint; "
                "import into another ledger: give another --runs, or another MLFLOW_TRACKING_URI"
            )
    missing = [run for run in runs if run.point_id not in records]
    if missing:
        diff = (folder / DIFF_FILE).read_text("utf-8")
        provenance = Provenance(**_read_json(folder / PROVENANCE_FILE), diff=diff)
        spec_text = (folder / SPEC_FILE).read_text("utf-8")
        with copy.exclusive_tracker(
            name, runs_dir, spec_text, provenance, complete=True
        ) as tracker:
            copy.write(tracker, missing)
    return name, len(missing)


def _copy_artifacts(client: MlflowClient, parent: str, out: Path) -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in (SPEC_FILE, PROVENANCE_FILE, DIFF_FILE):
        try:
            client.download_artifacts(parent, name, str(out))
        except (MlflowException, OSError) as error:
            raise InputError(
                f"{name} of the study's own run cannot be read: {error}; export where the ledger's "
                "artifacts are"
            ) from error


def _write_metrics(path: Path, runs: list[StoredRun]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(METRIC_COLUMNS)
        for run in runs:
            # str() of a float is the shortest text that reads back as the same float.
            writer.writerows((run.point_id, *asdict(value).values()) for value in run.metrics)


def _read_runs(folder: Path) -> list[StoredRun]:
    metrics: dict[str, list[MetricValue]] = defaultdict(list)
    try:
        with (folder / METRICS_FILE).open(encoding="utf-8", newline="") as file:
            for point, metric, step, timestamp_ms, value in list(csv.reader(file))[1:]:
                row = MetricValue(metric, int(step), int(timestamp_ms), float(value))
                metrics[point].append(row)
        points = _read_json(folder / POINTS_FILE)
        return [StoredRun(**row, metrics=metrics[row["tags"]["point_id"]]) for row in points]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is not a folder that `study export` wrote ({error}); export it again"
        ) from error


def _write_json(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
