"""Continuation: a point with a larger budget goes on from a run with a smaller one.

Under `constant` and `wsd` schedules the first steps of a run do not depend on its length
(`fingerprint.trajectory`), growth at a number of tokens included, and the checkpoint at the end of
these steps is kept. A new point starts from the latest such checkpoint at hand, with the rows
recorded up to it. It gets the numbers of a run from scratch and executes only the new steps.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernels.files import write_atomically
from study.ledger.reader import Record
from study.plan.planner import Point, Study
from workloads.config.fingerprint import fingerprint, trajectory
from workloads.config.run import RunConfig
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import (
    CHECKPOINT_FOLDER,
    DONOR_FILE,
    METRICS_FILE,
    OWNER_FILE,
    checkpoint_file,
    link_or_copy,
    saved_steps,
)


@dataclass(frozen=True)
class Donor:
    """A recorded run of a point's trajectory, and the step of the checkpoint to go on from, 0
    where there is none."""

    point_id: str
    step: int


def prepare(study: Study, points: list[Point], records: dict[str, Record]) -> None:
    """Copy rows and checkpoint of a donor into the directories of new points that have one."""
    new = [p for p in points if p.config.stable_steps and not _has_begun(study.run_dir(p))]
    for point, donor in _donors(study, new, records):
        if donor.step:
            _hand_over(study.points_dir / donor.point_id, study.run_dir(point), donor.step)


def notes(study: Study, records: dict[str, Record]) -> dict[str, str]:
    """Return by point id whether a point without a run continues from a recorded run.

    Only points that differ from a recorded run by their budget alone have a note.
    """
    missing = [point for point in study.points if point.id not in records]
    return {point.id: _note(point, donor) for point, donor in _donors(study, missing, records)}


def _has_begun(run_dir: Path) -> bool:
    return (run_dir / OWNER_FILE).exists()


def _note(point: Point, donor: Donor) -> str:
    if donor.step:
        return f"continues {donor.point_id} from step {donor.step}"
    if point.config.model.guide:
        return f"new, beside {donor.point_id}: the guide weight depends on the budget"
    if any(growth.at_step is None for growth in point.config.model.growths):
        reason = "it grows at a fraction of its steps; grow.at: {tokens: N} would let it go on"
        return f"new, beside {donor.point_id}: {reason}"
    if not point.config.stable_steps:
        schedule = point.config.optimizer.schedule
        return f"new, beside {donor.point_id}: {schedule}'s decay depends on the budget"
    return f"new, beside {donor.point_id}: no checkpoint of its stable phase is at hand"


def _donors(
    study: Study, points: list[Point], records: dict[str, Record]
) -> Iterator[tuple[Point, Donor]]:
    """Yield the points whose trajectory has recorded runs of another length, each with the run
    whose checkpoint is the latest. A run that a clock ends has none."""
    points = [point for point in points if not point.config.clock]
    if not points:
        return
    recorded: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for point_id, record in records.items():
        tree = record.tree("identity")
        recorded[fingerprint(trajectory(tree))].append((point_id, tree))
    for point in points:
        found = [
            Donor(point_id, _latest_shared(study.points_dir / point_id, point.config, tree))
            for point_id, tree in recorded[fingerprint(trajectory(point.identity))]
            if point_id != point.id
        ]
        if found:
            yield point, max(found, key=lambda donor: donor.step)


def _latest_shared(run_dir: Path, config: RunConfig, donor_identity: dict[str, Any]) -> int:
    """Return the last step in the stable phases of both runs that the donor has a checkpoint of,
    or 0."""
    tree = donor_identity | {"data": {**donor_identity["data"]}}
    del tree["data"]["fingerprint"]
    donor = RunConfig.model_validate_json(json.dumps(tree))
    last = min(config.stable_steps, donor.stable_steps)
    return max((s for s in saved_steps(run_dir / CHECKPOINT_FOLDER) if s <= last), default=0)


def _hand_over(donor_dir: Path, run_dir: Path, step: int) -> None:
    """Copy a donor's rows and checkpoint up to a step."""
    folder = run_dir / CHECKPOINT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    # Rows first: a driver that dies in between leaves a run that begins from scratch.
    rows, _ = read_rows(donor_dir / METRICS_FILE)
    lines = [
        # The new run does not execute the donor's steps.
        json.dumps({name: value for name, value in row.items() if name != "executed_flops"}) + "\n"
        for row in rows
        if row["step"] <= step
    ]
    write_atomically(run_dir / METRICS_FILE, "".join(lines))
    (run_dir / DONOR_FILE).write_text(f"{donor_dir.name} step {step}", encoding="utf-8")
    link_or_copy(
        checkpoint_file(donor_dir / CHECKPOINT_FOLDER, step), checkpoint_file(folder, step)
    )
