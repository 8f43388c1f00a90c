"""The clock of a run: seconds of its training loop, and the pace since the last row of metrics."""

from __future__ import annotations

import math
import time

from workloads.training.checkpoint import Progress


class Clock:
    """Seconds of the loop over all attempts, and of the steps since the last row alone."""

    def __init__(self, start: Progress) -> None:
        self._origin = time.perf_counter() - start.train_seconds
        self._steps, self._seconds, self._worst_loss = 0, 0.0, start.train_loss_max

    def count_step(self, seconds: float, loss: float) -> None:
        """Count a step that took so many seconds, with its training loss in nats per token."""
        self._steps += 1
        self._seconds += seconds
        self._worst_loss = max(self._worst_loss, loss)

    def end_interval(self) -> tuple[int, float, float]:
        """Return (steps, their seconds, the highest loss among them) since the last call."""
        interval = self._steps, self._seconds, self._worst_loss
        self._steps, self._seconds, self._worst_loss = 0, 0.0, -math.inf
        return interval

    def progress(self, step: int, spent_seconds: float, share: float) -> Progress:
        """Return what the checkpoint of `step` records, with what is spent of a budget in seconds
        and its share at the last step (`training.course`)."""
        return Progress(step, self.train_seconds(), self._worst_loss, spent_seconds, share)

    def train_seconds(self) -> float:
        """Return the seconds that the loop has spent, in all attempts."""
        return time.perf_counter() - self._origin
