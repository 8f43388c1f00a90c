"""Stopping without loss: a driver that is told to stop lets its points save the step they are at.

The driver leaves a file in the study's directory, which every trainer sees at its next step,
wherever it runs. A trainer that is told so itself (SIGTERM, as a node that is taken away sends it)
saves likewise, and then lets Ray have the signal. Ray leaves the interpreter, or where the signal
meets it between two statements of its own, aborts (a failed check of its 2.60). Where it leaves for
another reason, that too waits for the training thread, which must not wait meanwhile for someone
to fetch its last report.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from workloads.run_dir.metrics_log import Row

STOP_FILE = "stop"
# How long a point may take for the step in hand and its checkpoint.
SAVING_SECONDS = 60.0
# How long after a failed report the exit may come that was its cause.
EXIT_SECONDS = 5.0


@contextmanager
def stop_on_signal(stop_file: Path) -> Iterator[None]:
    """Within it SIGTERM and SIGINT leave `stop_file`; the second such signal ends the process."""
    stop_file.unlink(missing_ok=True)
    numbers = (signal.SIGTERM, signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        stop_file.touch()
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Leaving:
    """What a trainer needs to leave without loss: when to stop, and reports that do not hold it.

    Within it the process does not exit before the trainer has left.
    """

    def __init__(self, stop_file: Path) -> None:
        self._stop_file = stop_file
        self._exiting, self._left = threading.Event(), threading.Event()
        # Set when the process exits, and when a report is delivered.
        self._news = threading.Event()

    def __enter__(self) -> Leaving:
        _deferred.trainer = self
        atexit.register(self._hold)
        ctypes.pythonapi.Py_AddPendingCall(_defer_signals, None)
        return self

    def __exit__(self, *raised: object) -> None:
        self._left.set()
        atexit.unregister(self._hold)
        _deferred.trainer = None
        if _deferred.since is not None:
            _deferred.since = None
            os.kill(os.getpid(), signal.SIGTERM)

    def leave(self) -> None:
        """Tell the trainer to save and leave."""
        self._exiting.set()
        self._news.set()

    def _hold(self) -> None:
        self.leave()
        self._left.wait(SAVING_SECONDS)

    def asked(self) -> bool:
        """Whether the trainer is to save and leave; it asks at each step."""
        return self._exiting.is_set() or self._stop_file.exists()

    def deliver(self, report: Callable[[Row], None], row: Row) -> None:
        """Report a row and wait for it, unless the process exits: no one would fetch it then.

        What the report raises is raised here, but not where the exit is why it failed.
        """
        delivered: Future[None] = Future()

        def send() -> None:
            try:
                report(row)
            except BaseException as error:  # among them the SystemExit by which Tune ends a trial
                delivered.set_exception(error)
            else:
                delivered.set_result(None)
            self._news.set()

        self._news.clear()
        threading.Thread(target=send, daemon=True).start()
        while not (delivered.done() or self._exiting.is_set()):
            self._news.wait()
        if not delivered.done():
            return
        try:
            delivered.result()
        except Exception:  # Ray may be told to exit, and fail to report, before this process is
            if not self._exiting.wait(EXIT_SECONDS):
                raise


class _Deferred:
    """SIGTERM, kept from the process's own handler while a trainer has time to save."""

    trainer: Leaving | None = None
    since: float | None = None
    handler: Any = None

    def take(self) -> None:
        """From now on answer the signal; only the main thread may say so."""
        if self.handler is None:
            self.handler = signal.signal(signal.SIGTERM, self._answer)

    def _answer(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.trainer is not None and now - (self.since or now) < SAVING_SECONDS:
            self.since = self.since or now
            self.trainer.leave()
        elif callable(self.handler):
            self.handler(number, frame)
        else:  # None, or what the system does.
            signal.signal(number, self.handler or signal.SIG_DFL)
            signal.raise_signal(number)


_deferred = _Deferred()


# Ray trains in another thread than the main one, which calls this at its next statement.
@ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
def _defer_signals(_: None) -> int:
    _deferred.take()
    return 0
