"""The metrics of one run: `metrics.jsonl`, append-only and keyed by step.

A resumed run repeats the steps after its checkpoint; rows that it has recorded already are not
recorded again. Timestamps are stored with the rows, so that delivering a row twice to a metrics
store changes nothing.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from kernels.files import naming
from workloads.run_dir.paths import METRICS_FILE

Row = dict[str, float]


class MetricsLog:
    """The append-only `metrics.jsonl` of one run, which records each step once."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / METRICS_FILE
        _drop_torn_line(self._path)
        rows, _ = read_rows(self._path)
        self._last_step = rows[-1]["step"] if rows else 0

    def append(self, row: Row) -> bool:
        """Record a row, which has `step`; return False where that step is recorded already."""
        if row["step"] <= self._last_step:
            return False
        self._last_step = row["step"]
        with naming(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {"timestamp_ms": int(time.time() * 1000)}) + "\n")
        return True


def read_rows(path: Path, offset: int = 0) -> tuple[list[Row], int]:
    """Return the complete rows from byte `offset` on, and the offset after them."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    complete = data[: data.rfind(b"\n") + 1]
    return [json.loads(line) for line in complete.splitlines()], offset + len(complete)


def _drop_torn_line(path: Path) -> None:
    """Cut the half-written last line that a killed process may leave."""
    if path.exists():
        _, complete = read_rows(path)
        os.truncate(path, complete)
