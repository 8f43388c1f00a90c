"""The driver's side of a launch: it follows the trials, has them recorded, shows their progress.

Tune calls it at each of its own steps. What a trial recorded is read from the point's directory, so
that nothing depends on which messages arrived.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.display.progress import Display
from study.plan.planner import Point, Study
from study.running import attempts, failures, flops_cap
from study.running.graceful_stop import SAVING_SECONDS, STOP_FILE
from study.running.outcome import Outcome
from study.running.recorder import Recorder
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE
from workloads.run_dir.result import read_result

LOOK_SECONDS = 1.0


class Driver(Callback):
    """A Tune callback that keeps MLflow and the display in step with the trials of one launch."""

    def __init__(
        self,
        study: Study,
        points: list[Point],
        recorder: Recorder,
        display: Display,
        outcome: Outcome,
    ) -> None:
        self._study, self._recorder, self._display = study, recorder, display
        self._points = {point.id: point for point in points}
        self._running: dict[str, Point] = {}
        self._stopped: list[Point] = []
        self._offsets: dict[str, int] = {}
        self._earlier_seconds: dict[str, float] = {}
        self._last_causes: dict[str, str] = {}
        # The latest attempt by point, and how many in a row no trial has counted.
        self._uncounted: Counter[str] = Counter()
        self._attempts = {i: attempts.latest(study.run_dir(p)) for i, p in self._points.items()}
        self._train_seconds = flops_cap.train_seconds(recorder.records)
        self._next_look = 0.0
        self._stop_requested_at: float | None = None
        self.outcome = outcome

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks for `Tuner.restore`, which a study never calls."""
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        point = self._point(trial)
        if point.id in self._running:  # another attempt in the same launch
            return
        if self._stop_requested_at:  # the trial will see STOP_FILE and return
            return
        self._running[point.id] = point
        self._recorder.start(point)
        # Rows that an earlier launch left.
        earlier, self._offsets[point.id] = read_rows(self._study.run_dir(point) / METRICS_FILE)
        self._earlier_seconds[point.id] = earlier[-1]["train_seconds"] if earlier else 0.0
        self._display.started(point, earlier)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if self._recorder.lost_lease:
            raise self._recorder.lost_lease
        for point in self._running.values():
            self._show_rows(point)
        self._recorder.upload_new_rows(self._running.values())
        if spent := flops_cap.hours_spent(self._study, self._train_seconds):
            self.outcome.hours_spent = spent
            (self._study.directory / STOP_FILE).touch()
        if self._stop_requested_at is None and (self._study.directory / STOP_FILE).exists():
            self._stop_requested_at = now
        if self._stop_requested_at and (
            not self._running or now > self._stop_requested_at + SAVING_SECONDS
        ):
            # How Tune is told to leave its loop; SIGINT is the study's own.
            os.kill(os.getpid(), signal.SIGUSR1)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        point = self._point(trial)
        run_dir = self._study.run_dir(point)
        if attempts.latest(run_dir) == self._attempts[point.id]:
            self._uncounted[point.id] += 1  # its process died first, or could not write
            with suppress(OSError):
                attempts.start(run_dir)
        else:
            self._uncounted[point.id] = 0
        self._attempts[point.id] = attempts.latest(run_dir)
        cause, given_up = self._cause(trial), attempts.is_given_up(run_dir)
        if given_up or self._uncounted[point.id] >= attempts.MAX_RETRIES:
            trial.max_failures = 0  # Tune starts it once more, and not again
        if given_up:  # the trial will see that, and return
            self._last_causes[point.id] = cause
        else:
            self._display.retrying(point, cause)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        point = self._point(trial)
        result = read_result(self._study.run_dir(point), point.fingerprint)
        if result is None:
            self._end_without_result(point)
            return
        self._show_rows(point)
        self._recorder.end(point, result)
        self._running.pop(point.id)
        self.outcome.results[point.id] = result
        self.outcome.earlier_seconds += self._earlier_seconds[point.id]
        self._display.ended(point, result)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._fail(self._point(trial), self._cause(trial))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        for point in [*self._running.values(), *self._stopped]:
            self._recorder.interrupt(point)

    def _end_without_result(self, point: Point) -> None:
        """Record a trial that returned before its point ended.

        The study is stopping, the run was refused, or the point is given up.
        """
        if point.id not in self._running:
            return
        run_dir = self._study.run_dir(point)
        cause = self._last_causes.get(point.id)
        cause = cause or failures.first_cause(run_dir, attempts.latest(run_dir))
        if not cause and (self._study.directory / STOP_FILE).exists():
            self._stopped.append(self._running.pop(point.id))
        else:
            self._fail(point, cause or "the trial ended without a result")

    def _show_rows(self, point: Point) -> None:
        path = self._study.run_dir(point) / METRICS_FILE
        rows, self._offsets[point.id] = read_rows(path, self._offsets[point.id])
        if rows:
            self._train_seconds[point.id] = rows[-1]["train_seconds"]
            self._display.progressed(point, rows)

    def _fail(self, point: Point, cause: str) -> None:
        self._show_rows(point)
        self._recorder.fail(point, cause)
        self._running.pop(point.id, None)
        self._display.failed(point, cause)

    def _cause(self, trial: Trial) -> str:
        """Return why the latest attempt ended, and record that if the trial's process could not."""
        run_dir = self._study.run_dir(self._point(trial))
        attempt, text = attempts.latest(run_dir), _text_from_tune(trial)
        failures.record_death(run_dir, attempt, _cause_in(text), text)
        return failures.first_cause(run_dir, attempt) or _cause_in(text)

    def _point(self, trial: Trial) -> Point:
        return self._points[json.loads(trial.config["task"])["point_id"]]


def _text_from_tune(trial: Trial) -> str:
    """Return what Tune keeps of the trial's last error."""
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    return text.rpartition("Failure # ")[2]


def _cause_in(text: str) -> str:
    """Return Tune's text of an error in one line."""
    if "OutOfMemoryError" in text:
        return "Ray stopped its process: the machine's memory was nearly full"
    if "The actor died unexpectedly" in text or "ActorDiedError" in text:
        return "its process died: killed, crashed or out of memory"
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "unknown")
