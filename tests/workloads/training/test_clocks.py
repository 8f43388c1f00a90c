"""Minutes by the clock: a machine that slows down, kills, several workers. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.workloads.small_runs import final_state, newest_checkpoint, pico, start
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.run_dir.result import Result, read_result
from workloads.run_dir.spent_seconds import spent_seconds

pytestmark = pytest.mark.slow
Process = subprocess.Popen[str]
PEAK, FLOOR = 1e-2, 1e-3
# Of each second in which a process is held up.
HELD_UP = 0.7


def timed(seconds: float, clock: str = "training", log_interval: int = 1) -> RunConfig:
    runtime = {"checkpoint_interval": 50, "eval_interval": 200, "log_interval": log_interval}
    budget = {"wall_seconds": seconds, "clock": clock}
    return pico(budget=budget, learning_rate=PEAK, runtime=runtime)


def rows_of(run_dir: Path) -> list[Row]:
    return read_rows(run_dir / "metrics.jsonl")[0]


def result_of(run_dir: Path) -> Result:
    result = read_result(run_dir, (run_dir / "fingerprint").read_text())
    assert result is not None
    return result


def spent_in(run_dir: Path, seconds: float, process: Process) -> None:
    """Wait until the run has spent so many seconds of its budget."""
    deadline = time.monotonic() + 120
    while spent_seconds(run_dir) < seconds:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def finish(process: Process) -> None:
    process.communicate(timeout=150)
    assert process.returncode == 0


def hold_up(pid: int, until: threading.Event) -> None:
    """Stop the process for a part of each second, as a crowded machine would."""
    while not until.is_set():
        os.kill(pid, signal.SIGSTOP)
        time.sleep(HELD_UP)
        os.kill(pid, signal.SIGCONT)
        until.wait(1 - HELD_UP)


def assert_ended_at(seconds: float, run_dir: Path) -> Result:
    """Check that the run ended within a second of its budget, at its final rate."""
    result, rows = result_of(run_dir), rows_of(run_dir)
    print(f"{result.clock_seconds=} {result.train_seconds=} {result.step=}")
    assert result.status == "finished"
    assert result.clock_seconds == pytest.approx(seconds, abs=1.0)
    assert rows[-1]["learning_rate"] == pytest.approx(FLOOR, rel=1e-9)
    assert rows[-1]["val_loss"] == result.val_loss
    assert newest_checkpoint(run_dir).name == f"step-{result.step:08d}.safetensors"
    return result


def test_a_minute_is_a_minute(stdlib: TokenDataset, tmp_path: Path) -> None:
    finish(start(timed(60), stdlib, tmp_path))
    assert_ended_at(60, tmp_path)


@pytest.mark.parametrize("clock", ["training", "everything"])
def test_a_minute_on_a_machine_that_slows_down_half_way(
    stdlib: TokenDataset, tmp_path: Path, clock: str
) -> None:
    done = threading.Event()
    with start(timed(60, clock), stdlib, tmp_path) as process:
        spent_in(tmp_path, 30, process)
        half_way = rows_of(tmp_path)[-1]["step"]
        holding = threading.Thread(target=hold_up, args=(process.pid, done))
        holding.start()
        spent_in(tmp_path, 55, process)
        done.set()
        holding.join()
        finish(process)
    result = assert_ended_at(60, tmp_path)
    assert result.step < 1.8 * half_way, "it did not slow down"
    if clock == "everything":
        assert result.train_seconds == pytest.approx(60, abs=1.0)


def test_a_minute_of_a_run_that_is_killed_twice(stdlib: TokenDataset, tmp_path: Path) -> None:
    for seconds in (15, 40):
        with start(timed(60), stdlib, tmp_path) as process:
            spent_in(tmp_path, seconds, process)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    finish(start(timed(60), stdlib, tmp_path))
    result = assert_ended_at(60, tmp_path)
    assert result.resumed_step > 0
    spent = [row["clock_seconds"] for row in rows_of(tmp_path)]
    assert spent == sorted(spent)


@pytest.mark.parametrize("clock", ["training", "everything"])
def test_two_workers_go_by_one_clock(stdlib: TokenDataset, tmp_path: Path, clock: str) -> None:
    run_dir = tmp_path / "run"
    config = timed(6, clock)
    workers = [start(config, stdlib, run_dir, rank, world_size=2) for rank in (0, 1)]
    losses = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert losses[0] == losses[1]
    assert_ended_at(6, run_dir)
    assert final_state(run_dir)
