"""What a run has really executed: the training FLOPs of each of its attempts.

An attempt trains a run from its newest checkpoint until it ends, is stopped or is killed; a run
that was killed repeats the steps after its checkpoint. The file `lives` in the run's directory has
a line of fixed width for each attempt: the FLOPs of the run at which the attempt began, those that
it has reached, and those up to which it reserves. What a step will have reached is written before
the step is taken, so that the sum is an upper bound whenever the process dies. The file is flushed
to disk each second, against power cuts.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

# The name that it has in the directories of recorded runs.
ATTEMPTS_FILE = "lives"
DIGITS = 30
FIELD = DIGITS + 1
LINE = 3 * FIELD
FLUSH_SECONDS = 1.0


@dataclass(frozen=True)
class Spent:
    """FLOPs of one run: those executed by all attempts, and those that the last one reserves."""

    executed: int = 0
    reserved: int = 0

    @property
    def committed(self) -> int:
        """FLOPs that the run may have executed before its next attempt begins."""
        return self.executed + self.reserved


def spent(run_dir: Path) -> Spent:
    """Return what the run has executed and reserves; nothing where none was recorded."""
    attempts = _read(run_dir / ATTEMPTS_FILE)
    if not attempts:
        return Spent()
    _, reached, reserved = attempts[-1]
    return Spent(sum(reached - began for began, reached, _ in attempts), reserved - reached)


def release(run_dir: Path) -> None:
    """Drop what an attempt that was killed still reserves. Only for runs that nothing trains."""
    if spent(run_dir).reserved:
        with AttemptFlops(run_dir, 0, 0):
            pass


def add_elsewhere(run_dir: Path, flops: int) -> None:
    """Count FLOPs that were executed where this directory was not at hand."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with AttemptFlops(run_dir, 0, flops) as attempt:
        attempt.reach(flops)


class AttemptFlops:
    """The FLOPs of one attempt at a run, from `began` to at most `end`.

    Used as a context: leaving it drops what is still reserved.
    """

    def __init__(self, run_dir: Path, began: int, end: int) -> None:
        path = run_dir / ATTEMPTS_FILE
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
        """FLOPs executed by all attempts so far, the step in hand included."""
        return self._earlier + self._reached - self._began

    def reserve(self, flops: int) -> None:
        """Reserve what the run takes to come to so many FLOPs."""
        self._write(2, flops)
        self._flush()

    def reach(self, flops: int) -> None:
        """Record, before they are executed, that the run comes to so many FLOPs."""
        self._reached = flops
        self._write(1, flops)
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
        self._write(2, self._reached)
        os.close(self._file)

    def _write(self, field: int, flops: int) -> None:
        """Write FLOPs into a field of the attempt's line: reached 1, reserved 2."""
        os.pwrite(self._file, f"{flops:>{DIGITS}}".encode(), self._offset + field * FIELD)

    def _flush(self) -> None:
        os.fsync(self._file)
        self._flushed = time.monotonic()


def _read(path: Path) -> list[tuple[int, int, int]]:
    """Return (began, reached, reserved) of each attempt, first to last."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = (data[start : start + LINE] for start in range(0, len(data) // LINE * LINE, LINE))
    return [
        (int(line[:FIELD]), int(line[FIELD : 2 * FIELD]), int(line[2 * FIELD :])) for line in lines
    ]
