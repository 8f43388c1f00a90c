"""Attempts at a point in one launch: tried again while it gets on, given up after three in vain.

Preemptions and lost nodes are many in a long run, and each leaves a newer checkpoint to go on from;
what fails again after the same checkpoint is the point's own fault.
"""

from __future__ import annotations

import json
from pathlib import Path

from workloads.run_dir.paths import CHECKPOINT_FOLDER, saved_steps

MAX_RETRIES = 3
FILE = "attempts"
NONE = {"step": -1, "count": 0}


def begin(run_dir: Path) -> bool:
    """Count an attempt; False when the last ones were in vain and there must not be another."""
    if exhausted(run_dir):
        return False
    tried, step = _read(run_dir), _newest(run_dir)
    count = tried["count"] + 1 if step <= tried["step"] else 1
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / FILE).write_text(json.dumps({"step": step, "count": count}), encoding="utf-8")
    return True


def exhausted(run_dir: Path) -> bool:
    """Whether `begin` would refuse another attempt."""
    tried = _read(run_dir)
    return tried["count"] > MAX_RETRIES and _newest(run_dir) <= tried["step"]


def forget(run_dir: Path) -> None:
    """A new launch counts anew."""
    (run_dir / FILE).unlink(missing_ok=True)


def _read(run_dir: Path) -> dict[str, int]:
    try:
        return json.loads((run_dir / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a kill may have left it half written
        return NONE


def _newest(run_dir: Path) -> int:
    return max(saved_steps(run_dir / CHECKPOINT_FOLDER), default=0)
