"""Recording points in a real ledger as a driver does, with made-up results: nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from study.ledger import reader
from study.ledger.provenance import capture
from study.ledger.writer import Tracker
from study.plan.planner import Study
from study.plan.points import Point
from workloads.run_dir.metrics_log import Row
from workloads.run_dir.paths import METRICS_FILE, OWNER_FILE
from workloads.run_dir.result import Result


def tracker_of(study: Study) -> Tracker:
    """The writer of the study's ledger."""
    uri = reader.tracking_uri(study.runs_dir)
    return Tracker(uri, study.name, study.runs_dir, study.spec.text, capture())


def record(study: Study, points: Iterable[Point]) -> None:
    """Record the points as finished; no two of them have the same losses or times."""
    tracker = tracker_of(study)
    for index, point in enumerate(points):
        write_run(study, point, 2.5 + index / 7)
        tracker.start_point(point, None)
        tracker.upload_rows(point, study.run_dir(point))
        tracker.end_point(point, result_of(point, 2.5 + index / 7))
    tracker.close(complete=True)


def write_run(study: Study, point: Point, val_loss: float) -> None:
    """Leave in the run's directory what a trainer does, its checkpoints excepted."""
    run_dir = study.run_dir(point)
    run_dir.mkdir(parents=True)
    (run_dir / OWNER_FILE).write_text(point.fingerprint)
    lines = (json.dumps(row) + "\n" for row in rows_of(point, val_loss))
    (run_dir / METRICS_FILE).write_text("".join(lines))
    result_of(point, val_loss).write(run_dir)


def rows_of(point: Point, val_loss: float) -> Iterator[Row]:
    """Four recorded rows; the last has the run's evaluation."""
    names = ("train_loss", "grad_norm", "learning_rate", "tokens_per_second")
    for quarter in (1, 2, 3, 4):
        step = quarter * point.config.total_steps // 4
        row: Row = dict.fromkeys(names, val_loss + 1 / quarter)
        row |= {"step": step, "timestamp_ms": 10**12 + step, "train_seconds": val_loss * quarter}
        row |= {"tokens": point.config.tokens_at(step), "train_flops": step * 1e8}
        if quarter == 4:
            row |= {"val_loss": val_loss, "bits_per_byte": val_loss * 1.3}
            row |= {"hardware_flops": point.train_flops * 0.9}
        yield row


def result_of(point: Point, val_loss: float) -> Result:
    """A finished run of the point."""
    return Result(
        status="finished",
        fingerprint=point.fingerprint,
        step=point.config.total_steps,
        tokens=point.config.tokens,
        train_flops=point.train_flops,
        executed_flops=point.train_flops,
        hardware_flops=int(point.train_flops * 0.9),
        train_seconds=val_loss * 4,
        resumed_step=0,
        val_loss=val_loss,
        bits_per_byte=val_loss * 1.3,
        environment={"hardware": "none", "torch": "2", "kernel_path": "reference"},
    )
