"""Deliveries to MLflow, in order, in a thread of their own: training never waits for a server.

What is delivered stands in the runs' directories, and delivering it twice changes nothing. So a
delivery that the server does not take is tried again until it does, and what a launch could not
deliver before it ended is delivered by the next.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from mlflow.exceptions import MlflowException

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
# What a server that is away, starting or overloaded answers; anything else would not change.
PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "ABORTED"}

Delivery = Callable[[], object]


class Courier:
    """Makes deliveries one after the other, each until it succeeds."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Delivery | None] = queue.Queue()
        self._gave_up = threading.Event()
        self._last_success = time.monotonic()
        self._failures: list[Exception] = []
        self._latest_error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="deliveries", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether all that was sent is delivered."""
        return self._queue.unfinished_tasks == 0

    def send(self, delivery: Delivery) -> None:
        """Deliver after all that was sent before; returns at once."""
        self._queue.put(delivery)

    def abandon(self) -> None:
        """Deliver nothing more: another launch does now."""
        self._gave_up.set()

    def close(self, patience_seconds: float) -> str:
        """Wait for the rest while the server takes it, or for so long after it last did.

        Returns why something is not delivered; empty when all is.
        """
        self._queue.put(None)
        began = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(0.1)
            if time.monotonic() > max(began, self._last_success) + patience_seconds:
                self._gave_up.set()
                return _line(self._latest_error or TimeoutError("no answer"))
        return _line(self._failures[0]) if self._failures else ""

    def _work(self) -> None:
        while (delivery := self._queue.get()) is not None:
            self._deliver(delivery)
            self._queue.task_done()

    def _deliver(self, delivery: Delivery) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._gave_up.is_set():
            try:
                delivery()
                self._last_success = time.monotonic()
                return
            except Exception as error:
                if not _passes(error):
                    self._failures.append(error)
                    return
                self._latest_error = error
            self._gave_up.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _passes(error: Exception) -> bool:
    """Whether the same delivery may succeed later."""
    if isinstance(error, MlflowException):
        return error.error_code in PASSING
    return isinstance(error, OSError)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
