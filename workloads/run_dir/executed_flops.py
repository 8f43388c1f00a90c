"""What a run has really executed: the training FLOPs of each of its lives.

A run that is killed repeats the steps after its checkpoint. The file `lives` in its directory has
a line of fixed width a life: the FLOPs of the run at which the life began, those it has reached,
and those up to which it reserves. A life writes what a step will have reached before the step is
taken, so that the sum is an upper bound whenever the process dies. Against power cuts it is
flushed to disk each second.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

LIVES_FILE = "lives"
DIGITS = 30
FIELD = DIGITS + 1
LINE = 3 * FIELD
FLUSH_SECONDS = 1.0


@dataclass(frozen=True)
class Spent:
    """FLOPs of one run: those executed by all lives, and those the last life still reserves."""

    executed: int = 0
    reserved: int = 0

    @property
    def committed(self) -> int:
        """What the run may have executed before its next life begins."""
        return self.executed + self.reserved


def spent(run_dir: Path) -> Spent:
    """What the run has executed and reserves; nothing where none was recorded."""
    lives = _read(run_dir / LIVES_FILE)
    if not lives:
        return Spent()
    _, reached, reserved = lives[-1]
    return Spent(sum(life[1] - life[0] for life in lives), reserved - reached)


def release(run_dir: Path) -> None:
    """Drop what a life that was killed still reserves. Only for runs that nothing trains."""
    if spent(run_dir).reserved:
        with Life(run_dir, 0, 0):
            pass


def add_elsewhere(run_dir: Path, flops: int) -> None:
    """Count FLOPs that were executed where this directory was not at hand."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with Life(run_dir, 0, flops) as life:
        life.reach(flops)


class Life:
    """One life of a run, from `began` to at most `end` FLOPs; leaving it drops the reservation."""

    def __init__(self, run_dir: Path, began: int, end: int) -> None:
        path = run_dir / LIVES_FILE
        self._earlier = spent(run_dir).executed
        self._began = self._reached = began
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        # A line torn by a full disk or a kill is written over.
        self._offset = os.fstat(self._file).st_size // LINE * LINE
        line = "".join(f"{value:>{DIGITS}} " for value in (began, began, end))
        os.pwrite(self._file, f"{line[:-1]}\n".encode(), self._offset)
        self._flush()

    @property
    def executed(self) -> int:
        """FLOPs executed by all lives so far, the step in hand included."""
        return self._earlier + self._reached - self._began

    def reach(self, flops: int) -> None:
        """Record, before they are executed, that the run comes to so many FLOPs."""
        self._reached = flops
        self._write(1)
        if time.monotonic() > self._flushed + FLUSH_SECONDS:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write(2)
        os.close(self._file)

    def _write(self, field: int) -> None:
        text = f"{self._reached:>{DIGITS}}".encode()
        os.pwrite(self._file, text, self._offset + field * FIELD)

    def _flush(self) -> None:
        os.fsync(self._file)
        self._flushed = time.monotonic()


def _read(path: Path) -> list[tuple[int, int, int]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = (data[start : start + LINE] for start in range(0, len(data) // LINE * LINE, LINE))
    return [
        (int(line[:FIELD]), int(line[FIELD : 2 * FIELD]), int(line[2 * FIELD :])) for line in lines
    ]
