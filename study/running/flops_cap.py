"""The cap on training FLOPs while a study runs: `max_total_flops`, and `max_gpu_hours` beside it.

Every attempt at a run reserves its FLOPs in the run's directory, and then asks here while no other
attempt does. So two attempts that do not both fit are never both admitted, and one that fits is
never refused. Repeated steps count: they are paid for, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from study.ledger.reader import Record
from study.plan.planner import Point, Study
from workloads.errors import InputError, Refused
from workloads.files import exclusive
from workloads.run_dir import executed_flops
from workloads.run_dir.paths import RESULT_FILE

# How long an attempt waits for others that ask.
ADMISSION_SECONDS = 60.0


def admission_check(points_dir: Path, run_dir: Path, max_total_flops: float) -> Callable[[], None]:
    """Return what a run calls before it trains (`admit` of `training.trainer.train`).

    It raises Refused when the run would exceed the cap. `points_dir` holds the directories of all
    points of the study.
    """

    def admit() -> None:
        with exclusive(points_dir, ADMISSION_SECONDS):
            committed = sum(map(_committed, _run_dirs(points_dir)))
            if committed > max_total_flops:
                raise Refused(_refusal(executed_flops.spent(run_dir), committed, max_total_flops))

    return admit


def prepare_launch(study: Study, records: dict[str, Record]) -> None:
    """Bring the directories' counts of FLOPs up to date before a launch.

    FLOPs that the ledger knows and the directories do not were executed elsewhere: they are added.
    What killed attempts still reserve is released.
    """
    for point_id, record in records.items():
        known = int(record.metrics.get("executed_flops", 0))
        run_dir = study.points_dir / point_id
        if known > (here := executed_flops.spent(run_dir).executed):
            executed_flops.add_elsewhere(run_dir, known - here)
    for run_dir in _run_dirs(study.points_dir):
        release_if_dead(run_dir)


def train_seconds(records: dict[str, Record]) -> dict[str, float]:
    """Return how long each recorded point has trained, by id."""
    return {i: record.metrics.get("train_seconds", 0.0) for i, record in records.items()}


def hours_spent(study: Study, seconds: dict[str, float]) -> str:
    """Return the error of a study whose points have trained so long that `max_gpu_hours` is spent.

    Empty while it is not. `seconds` is the training time of each point, by id.
    """
    cap, spent = study.spec.value.max_gpu_hours, study.gpu_hours(seconds.values())
    if cap is None or spent < cap:
        return ""
    return f"{spent:.4g} GPU-hours are spent; raise it to go on"


def executed(study: Study, point: Point) -> int:
    """Return the FLOPs that all attempts at the point have executed, by its directory."""
    return executed_flops.spent(study.run_dir(point)).executed


def release_if_dead(run_dir: Path) -> None:
    """Release what a killed attempt still reserves, unless a process of it is still alive."""
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
