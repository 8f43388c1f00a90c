"""The cap on training FLOPs while a study runs: what its points have executed, and may still.

Every life of a run writes what it reserves into the run's directory before it asks here, and asks
while no other does; so two that do not both fit are never both let through, and one that fits is
not refused. Repeated work counts: what the lives executed is what was paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from study.ledger.reader import Record
from study.plan.planner import Point, Study
from workloads.errors import InputError, Refused
from workloads.run_dir import executed_flops
from workloads.run_dir.lock import exclusive
from workloads.run_dir.paths import RESULT_FILE

ADMISSION_SECONDS = 60.0


def admission(points_dir: Path, run_dir: Path, max_total_flops: float) -> Callable[[], None]:
    """What a run asks before it trains (see `training.trainer.train`); raises Refused over the cap.

    `points_dir` holds the directories of all points of the study.
    """

    def admit() -> None:
        with exclusive(points_dir, ADMISSION_SECONDS):
            committed = sum(map(_committed, _run_dirs(points_dir)))
            if committed > max_total_flops:
                raise Refused(_refusal(executed_flops.spent(run_dir), committed, max_total_flops))

    return admit


def balance(study: Study, records: dict[str, Record]) -> None:
    """Before a launch: count what the ledger knows to have been executed elsewhere, and drop what
    lives that were killed still reserve."""
    for point_id, record in records.items():
        known = int(record.metrics.get("executed_flops", 0))
        run_dir = study.points_dir / point_id
        if known > (here := executed_flops.spent(run_dir).executed):
            executed_flops.add_elsewhere(run_dir, known - here)
    for run_dir in _run_dirs(study.points_dir):
        release(run_dir)


def train_seconds(records: dict[str, Record]) -> dict[str, float]:
    """How long each recorded point has trained, by id."""
    return {i: record.metrics.get("train_seconds", 0.0) for i, record in records.items()}


def out_of_hours(study: Study, seconds: dict[str, float]) -> str:
    """What is to be said when points that trained for so long have used `max_gpu_hours` up."""
    cap, spent = study.spec.value.max_gpu_hours, study.gpu_hours(seconds.values())
    if cap is None or spent < cap:
        return ""
    return f"{spent:.4g} GPU-hours are spent; raise it to go on"


def executed(study: Study, point: Point) -> int:
    """FLOPs that the point's lives have executed, by its directory."""
    return executed_flops.spent(study.run_dir(point)).executed


def release(run_dir: Path) -> None:
    """Drop what a life that was killed still reserves, unless it lives on for some seconds."""
    if executed_flops.spent(run_dir).reserved:
        try:
            with exclusive(run_dir, patience_seconds=0):
                executed_flops.release(run_dir)
        except InputError:  # a worker of a killed driver is still there
            pass


def _committed(run_dir: Path) -> int:
    spent = executed_flops.spent(run_dir)
    return spent.executed if (run_dir / RESULT_FILE).exists() else spent.committed


def _run_dirs(points_dir: Path) -> Iterable[Path]:
    return (path.parent for path in points_dir.glob(f"*/{executed_flops.ATTEMPTS_FILE}"))


def _refusal(spent: executed_flops.Spent, committed: int, cap: float) -> str:
    others = committed - spent.reserved
    return (
        f"over budget: needs {spent.reserved:.4g} FLOPs more, and of max_total_flops {cap:.4g} "
        f"{others:.4g} are executed or reserved; raise max_total_flops"
    )
