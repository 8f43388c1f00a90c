"""What a run leaves in its directory: `metrics.jsonl` while it trains, `result.json` at the end.

A directory is one run's: the first to train there leaves its fingerprint, and others are refused.

The metrics log is append-only and keyed by step: a resumed run repeats the steps after its
checkpoint, and what was already recorded of them is not recorded again. Timestamps are stored
with the rows, so that delivering a row twice to a metrics store changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from workloads.errors import InputError

Row = dict[str, float]
# `stopped` is by a scheduler, which compared the run with others of its sweep.
EndStatus = Literal["finished", "diverged", "stopped"]
METRICS_FILE, RESULT_FILE, OWNER_FILE = "metrics.jsonl", "result.json", "fingerprint"
# Names the run, and its step, whose checkpoint this one went on from.
DONOR_FILE = "continued_from"
CHECKPOINT_FOLDER = "checkpoints"


@dataclass(frozen=True)
class Result:
    """How a run ended. Losses in nats per token.

    `train_seconds` is the training loop's own time over all its lives; `resumed_step` is the step
    after which the last life began, 0 for a run that was never killed. `executed_flops` counts
    every life's training FLOPs, `train_flops` those of the steps that stand, and `hardware_flops`
    the products that those steps really carry out.
    """

    status: EndStatus
    fingerprint: str
    step: int
    tokens: int
    train_flops: int
    train_seconds: float
    resumed_step: int
    val_loss: float | None = None
    bits_per_byte: float | None = None
    executed_flops: int = 0
    hardware_flops: int = 0
    environment: dict[str, Any] = field(default_factory=dict)

    def write(self, run_dir: Path) -> None:
        """Write `result.json`, whole or not at all."""
        path = run_dir / RESULT_FILE
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def read_result(run_dir: Path, fingerprint: str) -> Result | None:
    """The result of the run with this fingerprint, if it has ended."""
    path = run_dir / RESULT_FILE
    if not path.exists():
        return None
    result = Result(**json.loads(path.read_text(encoding="utf-8")))
    return result if result.fingerprint == fingerprint else None


def checkpoint_file(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` is; `folder` is the run's CHECKPOINT_FOLDER."""
    return folder / f"step-{step:08d}.safetensors"


def saved_steps(folder: Path) -> list[int]:
    """The steps that there are checkpoints of, sound or not, the newest first."""
    paths = folder.glob("step-*.safetensors")
    return sorted((int(path.stem.removeprefix("step-")) for path in paths), reverse=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at `target` too, whole or not at all, and without a second copy if that goes."""
    temporary = target.with_name(f"{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # not every shared file system has links
        shutil.copy2(source, temporary)
    temporary.replace(target)


def claim(run_dir: Path, fingerprint: str) -> None:
    """Make the directory this run's. Raises InputError when it is another run's already."""
    path = run_dir / OWNER_FILE
    owner = path.read_text(encoding="utf-8") if path.exists() else ""
    if not owner:
        path.write_text(fingerprint, encoding="utf-8")
    elif owner != fingerprint:
        raise InputError(
            f"{run_dir} belongs to run {owner}, not {fingerprint}; choose another directory or "
            "delete this one"
        )


@contextmanager
def exclusive(directory: Path, patience_seconds: float) -> Iterator[None]:
    """Hold a directory alone; a process that dies lets go of it.

    A process whose driver was killed may live some seconds beside its successor: the successor
    waits for it here. Raises InputError when the other does not go away.
    """
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_seconds
    with (directory / ".lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(
                        f"{directory} is in use by another live process; wait for it, or stop it"
                    ) from None
                time.sleep(0.2)
        yield


class MetricsLog:
    """Append-only `metrics.jsonl` of one run; each step is recorded once."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / METRICS_FILE
        _drop_torn_line(self._path)
        rows, _ = read_rows(self._path)
        self._last_step = rows[-1]["step"] if rows else 0

    def append(self, row: Row) -> bool:
        """Record a row that has `step`; False if that step stands already."""
        if row["step"] <= self._last_step:
            return False
        self._last_step = row["step"]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {"timestamp_ms": int(time.time() * 1000)}) + "\n")
        return True


def read_rows(path: Path, offset: int = 0) -> tuple[list[Row], int]:
    """The complete rows from byte `offset` on, and the offset after them."""
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
