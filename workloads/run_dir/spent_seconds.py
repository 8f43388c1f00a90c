"""What a run in seconds has spent of them: the file `spent_seconds` in its directory.

The file is written in place after each step, so that a run that is killed goes on with the time
that it had left: the seconds after its last checkpoint are spent, though their steps are lost. It
is not flushed to disk; after a power cut, the seconds of the last checkpoint count.
"""

from __future__ import annotations

import os
from pathlib import Path

SPENT_FILE = "spent_seconds"
WIDTH = 20


def spent_seconds(run_dir: Path) -> float:
    """Return the seconds of its budget that the run has spent; 0 where none are recorded."""
    try:
        return float((run_dir / SPENT_FILE).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):  # A full disk or a power cut may leave it empty.
        return 0.0


def record_spent(run_dir: Path, seconds: float) -> None:
    """Record the seconds that all attempts have spent."""
    file = os.open(run_dir / SPENT_FILE, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(file, f"{seconds:>{WIDTH - 1}.6f}\n".encode(), 0)
    finally:
        os.close(file)
