"""Stopping without loss: a trainer that has to stop saves the step it is at, and then leaves.

Each row is a situation: who sends what, who holds it back, who saves and who exits, in this order.

    situation              sent                     held by            saves, then exits
    ---------------------  -----------------------  -----------------  ------------------------
    a person stops the     SIGINT, SIGTERM or       nobody: it leaves  every trainer, at its
    study                  SIGHUP, to the driver    STOP_FILE          next step; the driver
    the person insists     the same once more       nobody             nobody saves; the driver
                                                                       exits at once
    a node is taken away   SIGTERM, to the process  _SigtermHandler    the trainer; its process,
                           of a trainer                                by the SIGTERM that
                                                                       GracefulStop sends anew
    a trainer hangs        SIGTERM again, after     nobody any more    nobody saves; the process
                           SAVING_SECONDS                              exits by its own handler
    the process exits for  nothing: an exit         the exit handler,  the trainer; its process
    another reason         handler tells the        SAVING_SECONDS at
                           trainer                  most

Why SIGTERM is held: Ray's handler leaves the interpreter or, where the signal meets it between two
statements of its own, aborts (a failed check of its 2.60). Either way the step would be lost.

Why reports are sent from a thread (`GracefulStop.report`): a report returns when Ray's controller
has fetched it. A process that exits waits for the trainer, and nobody fetches reports any more: a
trainer that waited for its report would never leave.
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
    """Let the first SIGTERM, SIGINT or SIGHUP leave `stop_file`; the second one ends the process.

    It does so whenever it comes, also after the context.
    """
    stop_file.unlink(missing_ok=True)
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        numbers.append(signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        stop_file.touch()
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)


class GracefulStop:
    """A trainer's side of stopping; while it is entered, the process waits for the trainer.

    The trainer asks `is_requested` at each step, and gives its rows to `report`.
    """

    def __init__(self, stop_file: Path) -> None:
        self._stop_file = stop_file
        self._requested, self._trainer_left = threading.Event(), threading.Event()
        # Wakes up a trainer that waits in `report`: the report was fetched, or a stop is requested.
        self._wake_up = threading.Event()

    def __enter__(self) -> GracefulStop:
        _sigterm.stop = self
        atexit.register(self._wait_for_trainer)
        ctypes.pythonapi.Py_AddPendingCall(_hold_sigterm, None)
        return self

    def __exit__(self, *raised: object) -> None:
        self._trainer_left.set()
        atexit.unregister(self._wait_for_trainer)
        _sigterm.stop = None
        if _sigterm.held_since is not None:
            _sigterm.held_since = None
            os.kill(os.getpid(), signal.SIGTERM)

    def request(self) -> None:
        """Ask the trainer to save and to leave."""
        self._requested.set()
        self._wake_up.set()

    def is_requested(self) -> bool:
        """Return whether the trainer has to save and leave."""
        return self._requested.is_set() or self._stop_file.exists()

    def report(self, send: Callable[[Row], None], row: Row) -> None:
        """Send a row, and wait until it is fetched or this process is to exit.

        Raises what `send` raises, unless it failed because the process is to exit.
        """
        sent: Future[None] = Future()

        def send_in_thread() -> None:
            try:
                send(row)
            except BaseException as error:  # among them the SystemExit by which Tune ends a trial
                sent.set_exception(error)
            else:
                sent.set_result(None)
            self._wake_up.set()

        self._wake_up.clear()
        threading.Thread(target=send_in_thread, daemon=True).start()
        while not (sent.done() or self._requested.is_set()):
            self._wake_up.wait()
        if not sent.done():
            return
        try:
            sent.result()
        except Exception:  # Ray may be told to exit, and fail to report, before this process is
            if not self._requested.wait(EXIT_SECONDS):
                raise

    def _wait_for_trainer(self) -> None:
        self.request()
        self._trainer_left.wait(SAVING_SECONDS)


class _SigtermHandler:
    """Holds SIGTERM back from the process's own handler while a trainer has time to save."""

    stop: GracefulStop | None = None
    held_since: float | None = None
    own_handler: Any = None

    def install(self) -> None:
        """Handle SIGTERM from now on. Only the main thread may call this."""
        if self.own_handler is None:
            self.own_handler = signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.stop is not None and now - (self.held_since or now) < SAVING_SECONDS:
            self.held_since = self.held_since or now
            self.stop.request()
        elif callable(self.own_handler):
            self.own_handler(number, frame)
        else:  # None, or the system's default.
            signal.signal(number, self.own_handler or signal.SIG_DFL)
            signal.raise_signal(number)


_sigterm = _SigtermHandler()


# Ray trains in another thread than the main one, which calls this at its next statement.
@ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
def _hold_sigterm(_: None) -> int:
    _sigterm.install()
    return 0
