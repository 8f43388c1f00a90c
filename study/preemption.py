"""Stopping without loss: a driver that is told to stop lets its points save the step they are at.

The driver leaves a file in the study's directory, which every trainer sees at its next step,
wherever it runs. A trainer that is told so itself (SIGTERM, as a node that is taken away sends it)
saves likewise: Ray answers the signal by leaving the interpreter, and this holds it until the
training thread is done.
"""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOP_FILE = "stop"
# How long a point may take for the step in hand and its checkpoint.
SAVING_SECONDS = 60.0


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


@contextmanager
def stopping(stop_file: Path) -> Iterator[Callable[[], bool]]:
    """What a trainer asks at each step; within it the process does not exit before it has left."""
    exiting, left = threading.Event(), threading.Event()

    def hold() -> None:
        exiting.set()
        left.wait(SAVING_SECONDS)

    atexit.register(hold)
    try:
        yield lambda: exiting.is_set() or stop_file.exists()
    finally:
        left.set()
        atexit.unregister(hold)
