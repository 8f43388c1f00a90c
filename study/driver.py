"""The driver's side of a run: follows the trials, delivers their metrics, shows their progress.

Tune calls it at each of its steps. What a trial recorded is read from the point's directory, so
that nothing depends on which messages arrived.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study import ledger
from study.ledger import Record
from study.plan import Point, Study
from study.provenance import capture
from study.status import Display, Outcome
from study.tracking import Tracker
from workloads.record import read_result

DELIVERY_SECONDS = 1.0


class Driver(Callback):
    """Keeps MLflow and the display in step with the trials of one launch."""

    def __init__(
        self,
        study: Study,
        points: list[Point],
        records: dict[str, Record],
        display: Display,
        outcome: Outcome,
    ) -> None:
        uri = ledger.tracking_uri(study.runs_dir)
        self._tracker = Tracker(uri, study.name, study.runs_dir, study.spec.text, capture())
        self._study, self._records, self._display = study, records, display
        self._points = {point.id: point for point in points}
        self._running: dict[str, Point] = {}
        self._earlier_seconds: dict[str, float] = {}
        self._next_delivery = 0.0
        self.outcome = outcome

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for `Tuner.restore`, which a study never calls."""
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        point = self._point(trial)
        if point.id in self._running:  # another attempt in the same launch
            return
        self._tracker.start_point(point, self._records.get(point.id))
        self._running[point.id] = point
        # Rows that an earlier launch left; the ledger may lack the last of them.
        earlier = self._tracker.deliver(point, self._study.run_dir(point))
        self._earlier_seconds[point.id] = earlier[-1]["train_seconds"] if earlier else 0.0
        self._display.started(point, earlier)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        now = time.monotonic()
        if now >= self._next_delivery:
            self._next_delivery = now + DELIVERY_SECONDS
            for point in self._running.values():
                self._deliver(point)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._display.retrying(self._point(trial), _cause(trial))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        point = self._point(trial)
        result = read_result(self._study.run_dir(point), point.fingerprint)
        if result is None:
            self._fail(point, "the trial ended without a result")
            return
        self._deliver(point)
        self._tracker.end_point(point, result)
        self._running.pop(point.id)
        self.outcome.results[point.id] = result
        self.outcome.earlier_seconds += self._earlier_seconds[point.id]
        self._display.ended(point, result)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._fail(self._point(trial), _cause(trial))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        for point in self._running.values():  # what a stopped study leaves half way
            self._deliver(point)
            self._tracker.interrupt_point(point)
        self._tracker.close(complete=len(self.outcome.results) == len(self._points))

    def _deliver(self, point: Point) -> None:
        rows = self._tracker.deliver(point, self._study.run_dir(point))
        if rows:
            self._display.progressed(point, rows)

    def _fail(self, point: Point, cause: str) -> None:
        self._deliver(point)
        self._tracker.fail_point(point, cause)
        self._running.pop(point.id, None)
        self._display.failed(point, cause)

    def _point(self, trial: Trial) -> Point:
        return self._points[json.loads(trial.config["task"])["point_id"]]


def _cause(trial: Trial) -> str:
    """The trial's last error in one line, from the text that Tune keeps of it."""
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    last = text.rpartition("Failure # ")[2]
    if "The actor died unexpectedly" in last:
        return "its process died: killed, crashed or out of memory"
    return next((line.strip() for line in reversed(last.splitlines()) if line.strip()), "unknown")
