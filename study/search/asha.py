"""ASHA: it stops the worse learning rates of a sweep, compared at equal training FLOPs.

Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934) in the form of Ray Tune, which
stops a run rather than pauses it. A run that reaches a rung goes on if it is among the best
1/reduction_factor of the runs that reached the rung before it. Runs are compared only where they
differ in nothing but the learning rate.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.plan.planner import Point, Study
from study.spec.search import Asha
from workloads.config.fingerprint import fingerprint
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.run_dir.paths import METRICS_FILE
from workloads.run_dir.result import Result, read_result

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


class Bracket:
    """The rungs of one sweep, and the losses that its runs had there."""

    def __init__(self, asha: Asha, train_flops: float) -> None:
        """Place rungs at `grace_flops` and its multiples by `reduction_factor`, below
        `train_flops`."""
        self._factor = asha.reduction_factor
        self._rungs: list[tuple[float, dict[str, float]]] = []
        milestone = asha.grace_flops
        while milestone < train_flops:
            self._rungs.append((milestone, {}))
            milestone *= self._factor

    def stops(self, run: str, flops: float, loss: float) -> bool:
        """Record the run's loss at the highest rung it has reached; return whether it ends there.

        A rung that the run had reached before, or has passed, decides nothing.
        """
        reached = [losses for milestone, losses in self._rungs if flops >= milestone]
        if not reached or run in reached[-1]:
            return False
        others = list(reached[-1].values())
        reached[-1][run] = loss
        return bool(others) and loss > np.percentile(others, 100 / self._factor)


class LearningRateAsha(FIFOScheduler):
    """Tune's scheduler of a study's points: one bracket for each sweep of learning rates.

    Rows that were recorded in earlier launches count. The scheduler writes the result of a run that
    it stops, as the run's own trainer would.
    """

    def __init__(self, study: Study, asha: Asha) -> None:
        super().__init__()
        self._study = study
        self._points = {point.id: point for point in study.points}
        self._brackets: dict[str, Bracket] = {}
        for point in study.points:
            bracket = self._brackets.setdefault(_sweep(point), Bracket(asha, point.train_flops))
            for row in read_rows(study.run_dir(point) / METRICS_FILE)[0]:
                if "val_loss" in row:
                    bracket.stops(point.id, row["train_flops"], row["val_loss"])

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        point = self._points[json.loads(trial.config["task"])["point_id"]]
        bracket, flops = self._brackets[_sweep(point)], result["train_flops"]
        if not bracket.stops(point.id, flops, result["val_loss"]) or flops >= point.train_flops:
            return TrialScheduler.CONTINUE
        if read_result(self._study.run_dir(point), point.fingerprint):
            return TrialScheduler.CONTINUE  # it ended before this report arrived
        _stopped(point, result).write(self._study.run_dir(point))
        return TrialScheduler.STOP


def _sweep(point: Point) -> str:
    """Return a key that points share which differ in nothing but the learning rate."""
    optimizer = {k: v for k, v in point.identity["optimizer"].items() if k != "learning_rate"}
    return fingerprint(point.identity | {"optimizer": optimizer})


def _stopped(point: Point, row: Row) -> Result:
    """Return the result of a run that is stopped at an evaluation which it reported."""
    return Result(
        status="stopped",
        fingerprint=point.fingerprint,
        step=int(row["step"]),
        tokens=int(row["tokens"]),
        train_flops=int(row["train_flops"]),
        executed_flops=int(row["executed_flops"]),
        hardware_flops=int(row["hardware_flops"]),
        train_seconds=row["train_seconds"],
        resumed_step=0,
        val_loss=row["val_loss"],
        bits_per_byte=row.get("bits_per_byte"),
    )
