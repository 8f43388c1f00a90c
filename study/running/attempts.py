"""How many attempts a point has had: three retries from one checkpoint are allowed in a launch.

A long run loses nodes and is preempted many times, and each time it goes on from a newer
checkpoint. An attempt that ends without a newer checkpoint is in vain; after four of them in a row
the point itself is at fault, and is given up until the next launch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from kernels.files import write_atomically
from workloads.run_dir.paths import CHECKPOINT_FOLDER, saved_steps

MAX_RETRIES = 3
FILE = "attempts"


@dataclass(frozen=True)
class _Attempts:
    """`number` counts all attempts ever made; `count` those of this launch that began at `step`."""

    step: int = -1
    count: int = 0
    number: int = 0


# Keys of other versions are left out, and an earlier version's file has no `number`.
STORED = TypeAdapter(_Attempts)


def start(run_dir: Path) -> int:
    """Count an attempt, and return its number, from 1; or return 0 if the point is given up."""
    if is_given_up(run_dir):
        return 0
    earlier, step = _read(run_dir), _newest_checkpoint(run_dir)
    count = earlier.count + 1 if step <= earlier.step else 1
    started = _Attempts(step, count, earlier.number + 1)
    write_atomically(run_dir / FILE, json.dumps(asdict(started)))
    return started.number


def is_given_up(run_dir: Path) -> bool:
    """Return whether `start` would refuse another attempt."""
    earlier = _read(run_dir)
    return earlier.count > MAX_RETRIES and _newest_checkpoint(run_dir) <= earlier.step


def latest(run_dir: Path) -> int:
    """Return the number of the latest attempt; 0 before the first."""
    return _read(run_dir).number


def allow_retries(run_dir: Path) -> None:
    """Allow all retries again: a new launch begins. The numbers of attempts go on."""
    if (run_dir / FILE).exists():
        allowed = _Attempts(number=_read(run_dir).number)
        write_atomically(run_dir / FILE, json.dumps(asdict(allowed)))


def _read(run_dir: Path) -> _Attempts:
    try:
        return STORED.validate_json((run_dir / FILE).read_bytes())
    except (FileNotFoundError, ValueError):  # an earlier version could leave it half written
        return _Attempts()


def _newest_checkpoint(run_dir: Path) -> int:
    """Return the step of the newest checkpoint; 0 where there is none."""
    return max(saved_steps(run_dir / CHECKPOINT_FOLDER), default=0)
