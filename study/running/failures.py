"""What attempts at a point leave in the folder `logs` of its run. No launch deletes any of it.

    0003-rank0001.log    all that the worker of rank 1 printed in the third attempt
    0003-rank0001.json   the Failure that ended that attempt in this worker
    0003-driver.json     a Failure that the driver recorded: the process died and could not do so
    0003-cause           the cause in one line, of the process that failed first

`python -m study logs` shows them.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from kernels.files import write_atomically
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE

LOG_FOLDER = "logs"
DRIVER = "driver"
STDOUT, STDERR = 1, 2


@dataclass(frozen=True)
class Failure:
    """Why one process ended an attempt, where and when.

    `process` is `rank0000` for the first worker, or `driver`. `step` is the last one that the run
    had recorded, `time` is in UTC, `traceback` is the whole text.
    """

    attempt: int
    process: str
    host: str
    step: int
    time: str
    cause: str
    traceback: str


FAILURE = TypeAdapter(Failure)


@dataclass(frozen=True)
class Trace:
    """What one process left of one attempt: its failure, if it failed, and all that it printed."""

    attempt: int
    process: str
    failure: Failure | None
    output: str


def rank_name(rank: int) -> str:
    """Return how the files of this worker are named."""
    return f"rank{rank:04}"


def record_exception(
    run_dir: Path, attempt: int, rank: int, cause: str, error: BaseException
) -> None:
    """Record that this worker's attempt ended with an exception, and why, in one line."""
    _record(run_dir, attempt, rank_name(rank), cause, "".join(traceback.format_exception(error)))


def record_death(run_dir: Path, attempt: int, cause: str, text: str) -> None:
    """Record for a process that died what the driver knows; a cause that it left itself stands."""
    if not first_cause(run_dir, attempt):
        _record(run_dir, attempt, DRIVER, cause, text)


def first_cause(run_dir: Path, attempt: int) -> str:
    """Return the cause of the process that failed first in an attempt; empty if none did."""
    try:
        return _path(run_dir, attempt, "cause").read_text(encoding="utf-8")
    except OSError:
        return ""


def read(run_dir: Path) -> list[Trace]:
    """Return what all attempts have left, the newest last."""
    paths = (run_dir / LOG_FOLDER).glob("[0-9][0-9][0-9][0-9]*-*.*")
    traces = [_trace(run_dir, stem) for stem in sorted({path.stem for path in paths})]
    # A process that trains has an empty log, and one that was killed leaves it.
    return [trace for trace in traces if trace.failure or trace.output]


@contextmanager
def captured_output(run_dir: Path, attempt: int, rank: int) -> Iterator[None]:
    """Write to the attempt's log what this process prints, the last words of a crash included.

    Where the log cannot be written, the output stays with Ray.
    """
    path = _path(run_dir, attempt, f"{rank_name(rank)}.log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        yield
        return
    before = {number: os.dup(number) for number in (STDOUT, STDERR)}
    try:
        _redirect(dict.fromkeys(before, log))
        yield
    finally:
        _redirect(before)
        for descriptor in (log, *before.values()):
            os.close(descriptor)
        if not path.stat().st_size:
            path.unlink()


def _redirect(targets: dict[int, int]) -> None:
    """Let descriptors of output go elsewhere, once all that was printed so far is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    for number, target in targets.items():
        os.dup2(target, number)


def _record(run_dir: Path, attempt: int, process: str, cause: str, text: str) -> None:
    failure = Failure(
        attempt=attempt,
        process=process,
        host=platform.node(),
        step=_last_step(run_dir),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        cause=cause,
        traceback=text,
    )
    path = _path(run_dir, attempt, f"{process}.json")
    try:
        write_atomically(path, json.dumps(asdict(failure), indent=1) + "\n", durable=True)
        # The other workers fail because the first one did: the first cause is the one that counts.
        with _path(run_dir, attempt, "cause").open("x", encoding="utf-8") as file:
            file.write(cause)
    except OSError:  # the cause stands already; or the disk is what failed, and Ray has the error
        pass


def _last_step(run_dir: Path) -> int:
    rows, _ = read_rows(run_dir / METRICS_FILE)
    return int(rows[-1]["step"]) if rows else 0


def _trace(run_dir: Path, stem: str) -> Trace:
    folder = run_dir / LOG_FOLDER
    recorded, log = folder / f"{stem}.json", folder / f"{stem}.log"
    output = log.read_text("utf-8", errors="replace") if log.exists() else ""
    failure = None
    if recorded.exists():
        try:
            failure = FAILURE.validate_json(recorded.read_bytes())
        except ValueError:
            output += f"\n{recorded}: damaged, what it says of the failure cannot be read\n"
    attempt, _, process = stem.partition("-")
    return Trace(int(attempt), process, failure, output)


def _path(run_dir: Path, attempt: int, name: str) -> Path:
    return run_dir / LOG_FOLDER / f"{attempt:04}-{name}"
