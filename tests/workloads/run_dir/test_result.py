"""A run's records: the result, the append-only metrics, and the lock that real processes hold."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workloads.errors import InputError
from workloads.files import exclusive
from workloads.run_dir.lock import claim
from workloads.run_dir.metrics_log import MetricsLog, Row, read_rows
from workloads.run_dir.result import Result, read_result

ROOT = Path(__file__).parents[3]
RESULT = Result(
    status="finished",
    fingerprint="0123456789abcdef",
    step=3,
    tokens=6144,
    train_flops=2**70,
    train_seconds=0.1 + 0.2,
    resumed_step=0,
    val_loss=1.5,
    bits_per_byte=2.25,
    environment={"torch": "2.13.0"},
)


def rows_of(run_dir: Path) -> list[Row]:
    return read_rows(run_dir / "metrics.jsonl")[0]


def row(step: int, loss: float = 0.5) -> Row:
    return {"step": step, "train_loss": loss}


# The result


def test_a_result_comes_back(tmp_path: Path) -> None:
    assert read_result(tmp_path, RESULT.fingerprint) is None
    RESULT.write(tmp_path)
    assert read_result(tmp_path, RESULT.fingerprint) == RESULT
    assert read_result(tmp_path, "f" * 16) is None
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_half_written_result_is_none(tmp_path: Path) -> None:
    RESULT.write(tmp_path)
    whole = (tmp_path / "result.json").rename(tmp_path / "result.tmp")
    whole.write_text(whole.read_text()[:20])  # As a process killed while writing leaves it.
    assert read_result(tmp_path, RESULT.fingerprint) is None
    RESULT.write(tmp_path)
    assert read_result(tmp_path, RESULT.fingerprint) == RESULT


# Metrics


def test_rows_are_appended_with_the_time(tmp_path: Path) -> None:
    before = int(time.time() * 1000)
    log = MetricsLog(tmp_path)
    assert log.append(row(1)) and log.append(row(5, 0.1 + 0.2))
    after = int(time.time() * 1000)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows_of(tmp_path)
    for found, expected in zip(rows_of(tmp_path), (row(1), row(5, 0.1 + 0.2)), strict=True):
        assert before <= found.pop("timestamp_ms") <= after
        assert found == expected


def test_a_resumed_run_records_no_step_twice(tmp_path: Path) -> None:
    first = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        first.append(row(step))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    resumed = MetricsLog(tmp_path)
    assert not resumed.append(row(2, 9.0))
    assert not resumed.append(row(3, 9.0))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert resumed.append(row(4))
    assert not resumed.append(row(4, 9.0))
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(before)
    assert [(r["step"], r["train_loss"]) for r in rows_of(tmp_path)] == [
        (step, 0.5) for step in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_dropped_and_recorded_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(tmp_path)
    log.append(row(1))
    complete = path.read_bytes()
    log.append(row(2))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [r["step"] for r in rows_of(tmp_path)] == [1]
    resumed = MetricsLog(tmp_path)
    assert path.read_bytes() == complete
    assert resumed.append(row(2))
    assert [r["step"] for r in rows_of(tmp_path)] == [1, 2]


def test_rows_are_read_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_rows(path) == ([], 0)
    log = MetricsLog(tmp_path)
    log.append(row(1))
    rows, offset = read_rows(path)
    assert [r["step"] for r in rows] == [1] and offset == path.stat().st_size
    log.append(row(2))
    log.append(row(3))
    with path.open("a") as file:
        file.write('{"step": 4, "tra')  # Being written.
    rows, end = read_rows(path, offset)
    assert [r["step"] for r in rows] == [2, 3]
    assert read_rows(path, end) == ([], end)


# The lock, across real processes

HOLDER = """
import sys
from pathlib import Path
from workloads.files import exclusive
with exclusive(Path(sys.argv[1]), float(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


def holder(directory: Path, patience: float = 0.0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), str(patience)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_directory_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    with holder(directory) as first:
        assert said(first) == "held\n"
        with (
            pytest.raises(InputError, match=f"{directory} is in use by another"),
            exclusive(directory, patience_seconds=0.0),
        ):
            raise AssertionError("two processes hold the directory")
        with holder(directory) as second:
            _, errors = second.communicate()
            assert "is in use by another" in errors and second.returncode == 1
        # The one who waits gets it when the first lets go.
        with holder(directory, patience=30.0) as third:
            time.sleep(0.3)
            assert first.communicate("go\n")[0] == "released\n"
            assert said(third) == "held\n"
            third.communicate("go\n")
    with exclusive(directory, patience_seconds=0.0), exclusive(tmp_path, patience_seconds=0.0):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        assert said(first) == "held\n"
        first.send_signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        with exclusive(tmp_path, patience_seconds=0.0):
            pass


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path, patience_seconds=0.0):
        raise KeyError
    with exclusive(tmp_path, patience_seconds=0.0):
        pass


# The owner


def test_a_directory_is_one_runs(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path, "a" * 16)
    message = f"{tmp_path} belongs to run {'a' * 16}, not {'b' * 16}; choose another directory"
    with pytest.raises(InputError, match=message):
        claim(tmp_path, "b" * 16)
    claim(tmp_path, "a" * 16)


def test_a_claim_that_was_killed_half_way_is_nobodys(tmp_path: Path) -> None:
    claim(tmp_path, "a" * 16)
    (owner,) = tmp_path.iterdir()
    owner.write_bytes(b"")
    claim(tmp_path, "b" * 16)
    with pytest.raises(InputError):
        claim(tmp_path, "a" * 16)
