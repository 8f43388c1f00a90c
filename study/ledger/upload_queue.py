"""A queue of uploads to MLflow: they are made in order, in a thread, so that training never waits.

Everything that is uploaded also stands in the runs' directories, and uploading it twice changes
nothing. So an upload that the server does not take is tried again until it does, and what a launch
could not upload before it ended is uploaded by the next one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from mlflow.exceptions import MlflowException

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
# MLflow's error codes of a server that is away, starting or overloaded. Other errors would stay.
TRANSIENT = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "ABORTED"}

Upload = Callable[[], object]


class UploadQueue:
    """Makes uploads one after the other, each until it succeeds."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Upload | None] = queue.Queue()
        self._abandoned = threading.Event()
        self._last_success = time.monotonic()
        self._permanent_errors: list[Exception] = []
        self._latest_error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether every upload that was added is made."""
        return self._queue.unfinished_tasks == 0

    def add(self, upload: Upload) -> None:
        """Make this upload after all that were added before; return at once."""
        self._queue.put(upload)

    def abandon(self) -> None:
        """Make no further upload, because another launch has taken the study over."""
        self._abandoned.set()

    def close(self, patience_seconds: float) -> str:
        """Wait until all uploads are made, or until the server took none for so many seconds.

        Returns the first line of the error when an upload was not made, else the empty string.
        """
        self._queue.put(None)
        began = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(0.1)
            if time.monotonic() > max(began, self._last_success) + patience_seconds:
                self._abandoned.set()
                return _first_line(self._latest_error or TimeoutError("no answer"))
        return _first_line(self._permanent_errors[0]) if self._permanent_errors else ""

    def _work(self) -> None:
        while (upload := self._queue.get()) is not None:
            self._make(upload)
            self._queue.task_done()

    def _make(self, upload: Upload) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._abandoned.is_set():
            try:
                upload()
                self._last_success = time.monotonic()
                return
            except Exception as error:
                if not _is_transient(error):
                    self._permanent_errors.append(error)
                    return
                self._latest_error = error
            self._abandoned.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _is_transient(error: Exception) -> bool:
    """Return whether the same upload may succeed later."""
    if isinstance(error, MlflowException):
        return error.error_code in TRANSIENT
    return isinstance(error, OSError)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
