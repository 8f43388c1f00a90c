"""Taking runs from elsewhere into a study's ledger, and taking recorded runs out of it.

A run belongs to a point when their fingerprints agree, for then training the point would give that
run. Both leave tags on the run that say from where or why, when, and by whom.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from analysis.tables import tracking
from kernels.nearest import nearest_name
from study.ledger import copy, reader, store
from study.ledger.copy import StoredRun
from study.ledger.identities import check_name
from study.ledger.provenance import capture
from study.ledger.status import ADOPTABLE
from study.ledger.writer import OF_LENGTH, Tracker
from study.plan.planner import Study
from study.plan.points import Point
from study.search.samples import with_recorded
from workloads.errors import InputError
from workloads.run_dir.configuration import CONFIG_FILE
from workloads.run_dir.paths import (
    CHECKPOINT_FOLDER,
    METRICS_FILE,
    OWNER_FILE,
    RESULT_FILE,
    checkpoint_file,
    link_or_copy,
    saved_steps,
)
from workloads.run_dir.result import read_result


def adopt(study: Study, source: str) -> list[str]:
    """Record the runs of `source` that belong to planned points; return those points' ids.

    `source` is the directory of a run of `python -m workloads train`, a folder of such
    directories, or an experiment as `TRACKING_URI/NAME`, or its name alone in the study's own
    ledger. Points that have a run already keep it. Raises InputError when the source holds no run
    that ended, or no such point.
    """
    records = reader.read(store.tracking_uri(study.runs_dir), study.name)
    check_name(study, records)
    study = with_recorded(study, records)
    free = {p.fingerprint: p for p in study.points if p.id not in records}
    if Path(source).is_dir():
        adopted = _adopt_directories(study, Path(source), free)
    else:
        adopted = _adopt_experiment(study, source, free)
    if not adopted:
        raise InputError(
            f"{tracking.without_password(source)} holds no ended run of a point of {study.name} "
            "that has none yet; compare the fingerprints with: python -m study plan "
            f"{study.spec.path} --json"
        )
    return adopted


def drop(study: Study, point_id: str, reason: str) -> Path | None:
    """Take a point's run out of the ledger, so that the point is missing again.

    MLflow keeps the run as deleted, with the reason; its directory is moved aside, and the new
    place returned if there is one here. Raises InputError when the point has no run.
    """
    uri = store.tracking_uri(study.runs_dir)
    records = reader.read(uri, study.name)
    if point_id not in records:
        hint = f"; the nearest is {nearest_name(point_id, records)}" if records else ""
        raise InputError(f"{point_id} has no run in {tracking.shown(uri)}{hint}")
    run_id = records[point_id].run_id
    with _exclusive_tracker(study, complete=False) as tracker:
        for name, value in copy.audit_tags("dropped_because", reason).items():
            tracker.client.set_tag(run_id, name, value)
        tracker.client.delete_run(run_id)
        run_dir = study.directory / "points" / point_id
        if not run_dir.exists():
            return None
        aside = study.directory / "dropped" / f"{point_id}-{time.strftime('%Y%m%d-%H%M%S')}"
        aside.parent.mkdir(exist_ok=True)
        return run_dir.rename(aside)


def _adopt_directories(study: Study, source: Path, free: dict[str, Point]) -> list[str]:
    """Copy the runs' files into the study's folder, and record the runs as its driver does."""
    found = {owner: d for d in _run_directories(source) if (owner := _owner(d)) in free}
    ended = {
        free[owner].id: (free[owner], d) for owner, d in found.items() if read_result(d, owner)
    }
    if not ended:
        return []
    with _exclusive_tracker(study, complete=len(ended) == len(free)) as tracker:
        for point, directory in ended.values():
            _record(study, tracker, point, directory)
        records = reader.read(store.tracking_uri(study.runs_dir), study.name)
        for point_id, (_, directory) in ended.items():
            for name, value in copy.audit_tags("adopted_from", str(directory.resolve())).items():
                tracker.client.set_tag(records[point_id].run_id, name, value)
    return [*ended]


def _record(study: Study, tracker: Tracker, point: Point, directory: Path) -> None:
    run_dir = study.run_dir(point)
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in (OWNER_FILE, CONFIG_FILE, METRICS_FILE, RESULT_FILE):
        # A run that diverges at once has recorded no row, and an old one no configuration.
        if (directory / name).exists():
            shutil.copy2(directory / name, run_dir / name)
    # Points with a larger budget would continue from these checkpoints.
    (run_dir / CHECKPOINT_FOLDER).mkdir(exist_ok=True)
    for step in saved_steps(directory / CHECKPOINT_FOLDER):
        source, target = (
            checkpoint_file(where / CHECKPOINT_FOLDER, step) for where in (directory, run_dir)
        )
        link_or_copy(source, target)
    result = read_result(run_dir, point.fingerprint)
    assert result is not None  # the directory has one
    tracker.start_point(point, None)
    tracker.upload_rows(point, run_dir)
    tracker.end_point(point, result)


def _run_directories(source: Path) -> Iterator[Path]:
    yield from sorted(path.parent for path in source.rglob(RESULT_FILE))


def _owner(directory: Path) -> str:
    path = directory / OWNER_FILE
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _adopt_experiment(study: Study, source: str, free: dict[str, Point]) -> list[str]:
    uri, _, name = source.rpartition("/")
    adopted = [
        _as_point(run, free.pop(run.tags["fingerprint"]), study, source)
        for run in _read(uri or store.tracking_uri(study.runs_dir), name)
        if run.tags.get("status") in ADOPTABLE and run.tags.get("fingerprint") in free
    ]
    if adopted:
        with _exclusive_tracker(study, complete=not free) as tracker:
            copy.write(tracker, adopted)
    return [run.point_id for run in adopted]


def _read(uri: str, name: str) -> list[StoredRun]:
    with tracking.opened(uri) as client:
        return list(copy.read(client, name))


def _as_point(run: StoredRun, point: Point, study: Study, source: str) -> StoredRun:
    """Return the run under this study's names: its id and its arm may be others at its source."""
    origin = copy.audit_tags("adopted_from", tracking.without_password(source))
    tags = {"study": study.name, "point_id": point.id} | origin
    measured = OF_LENGTH if point.config.clock else ()
    planned = {n: v for n, v in point.summary().items() if v is not None and n not in measured}
    named = {name: str(value) for name, value in planned.items()}
    return replace(run, tags=run.tags | tags, params=run.params | named)


def _exclusive_tracker(study: Study, complete: bool) -> AbstractContextManager[Tracker]:
    return copy.exclusive_tracker(study.name, study.runs_dir, study.spec.text, capture(), complete)
