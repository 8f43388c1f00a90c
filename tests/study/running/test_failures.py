"""What failed attempts leave beside the run: everything, of every process and every launch."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from study.commands.logs import logs
from study.plan import planner
from study.running import attempts, failures
from study.running.failures import captured_output, first_cause, record_death, record_exception
from tests.study.launching import ROOT, records_of, study_cli
from workloads.errors import InputError
from workloads.run_dir.paths import METRICS_FILE


def fail(run_dir: Path, attempt: int, rank: int, message: str) -> None:
    try:
        raise ValueError(message)
    except ValueError as error:
        record_exception(run_dir, attempt, rank, f"ValueError: {message}", error)


def test_a_failure_has_all_that_is_asked_of_it(tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text('{"step": 5}\n{"step": 10}\n')
    before = datetime.now(UTC).replace(microsecond=0)
    fail(tmp_path, 3, 1, "it broke")
    (trace,) = failures.read(tmp_path)
    failure = trace.failure
    assert failure and (failure.attempt, failure.process, failure.step) == (3, "rank0001", 10)
    assert failure.host == platform.node() and failure.cause == "ValueError: it broke"
    assert before <= datetime.fromisoformat(failure.time) <= datetime.now(UTC)
    assert f'File "{__file__}", line ' in failure.traceback
    assert failure.traceback.endswith("ValueError: it broke\n")


def test_the_first_cause_of_an_attempt_stands_and_every_traceback_is_kept(tmp_path: Path) -> None:
    assert first_cause(tmp_path, 1) == ""
    fail(tmp_path, 1, 1, "the worker that failed")
    fail(tmp_path, 1, 0, "a worker that lost the other")
    record_death(tmp_path, 1, "its process died", "what Ray says")
    assert first_cause(tmp_path, 1) == "ValueError: the worker that failed"
    record_death(tmp_path, 2, "its process died", "what Ray says")
    assert first_cause(tmp_path, 2) == "its process died"
    found = [(trace.attempt, trace.process) for trace in failures.read(tmp_path)]
    assert found == [(1, "rank0000"), (1, "rank0001"), (2, "driver")]


CRASHING = """
import ctypes, faulthandler, os, subprocess, sys
from pathlib import Path
from study.running.failures import captured_output
faulthandler.enable()
print("before")
with captured_output(Path(sys.argv[1]), 1, 0):
    print("by Python")
    subprocess.run(["echo", "by another program"])
print("in between", flush=True)
with captured_output(Path(sys.argv[1]), 2, 0):
    ctypes.string_at(0)
"""


def test_output_is_kept_to_the_last_words_of_a_crash(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CRASHING, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode < 0 and (done.stdout, done.stderr) == ("before\nin between\n", "")
    printed, crashed = failures.read(tmp_path)
    assert printed.output == "by Python\nby another program\n"
    assert "Segmentation fault" in crashed.output and "in <module>" in crashed.output


def test_no_log_is_left_where_nothing_was_printed_or_none_can_be(tmp_path: Path) -> None:
    with captured_output(tmp_path, 1, 0):
        assert failures.read(tmp_path) == []  # nor of a process that has printed nothing yet
    assert not list((tmp_path / "logs").iterdir())
    (tmp_path / "file").touch()
    with captured_output(tmp_path / "file", 1, 0):
        os.write(1, b"")
    fail(tmp_path / "file", 1, 0, "the disk is what failed")
    assert first_cause(tmp_path / "file", 1) == ""


@pytest.mark.slow
def test_failing_point_is_retried_and_leaves_every_traceback_of_every_launch(
    write_spec: Callable[..., Path],
    runs_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KERNELS", "feed_forward:reference")
    spec = write_spec("failing")
    study = planner.load(spec, runs_dir)
    broken, sound = study.points
    # A file where the run's checkpoints belong makes each attempt fail for real.
    run_dir = study.run_dir(broken)
    run_dir.mkdir(parents=True)
    (run_dir / "checkpoints").write_text("in the way")
    done = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert done.returncode == 1
    assert done.stderr.count("retrying") == 3
    records = records_of(runs_dir, "failing")
    assert records[sound.id].status == "finished"
    assert records[broken.id].status == "failed"
    assert "checkpoints" in records[broken.id].tags["failure"]
    assert "\n" not in records[broken.id].tags["failure"]
    assert "feed_forward=reference" in records[sound.id].tags["kernel_path"]
    capsys.readouterr()
    logs(spec, broken.id, runs_dir)
    shown = capsys.readouterr().out
    headings = [line for line in shown.splitlines() if line.startswith("attempt ")]
    assert [line.split(" on ")[0] for line in headings] == [
        f"attempt {number}, rank0000" for number in (1, 2, 3, 4)
    ]
    assert all(platform.node() in line and "last recorded step 10" in line for line in headings)
    assert shown.count(f'File "{ROOT}/workloads/training/trainer.py", line ') >= 4
    assert shown.count("FileExistsError: [Errno 17]") >= 4
    (run_dir / "checkpoints").unlink()
    study_cli("run", spec, "--runs", runs_dir)
    assert records_of(runs_dir, "failing")[broken.id].status == "finished"
    logs(spec, broken.id, runs_dir)
    assert capsys.readouterr().out == shown
    assert attempts.latest(run_dir) == 5


def test_logs_of_a_point_that_is_not_or_has_not_failed(
    write_spec: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec("unlogged")
    point = planner.load(spec, tmp_path).points[0]
    with pytest.raises(InputError, match=f"no point {point.id[:-1]}9; the nearest is {point.id}$"):
        logs(spec, f"{point.id[:-1]}9", tmp_path)
    logs(spec, point.id, tmp_path)
    captured = capsys.readouterr()
    assert captured.out == "" and "has failed or printed anything" in captured.err


def test_logs_without_a_point_list_the_points_that_have_any(
    write_spec: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec("listed")
    study = planner.load(spec, tmp_path)
    logs(spec, runs=tmp_path)
    captured = capsys.readouterr()
    assert captured.out == "" and "no attempt at a point of listed has failed" in captured.err
    broken, talking = study.points
    fail(study.run_dir(broken), 1, 0, "it broke")
    fail(study.run_dir(broken), 2, 0, "it broke again")
    log = study.run_dir(talking) / "logs" / "0001-rank0000.log"
    log.parent.mkdir(parents=True)
    log.write_text("words")
    logs(spec, runs=tmp_path)
    assert set(capsys.readouterr().out.splitlines()) == {
        f"{broken.id}  ValueError: it broke again",
        f"{talking.id}  printed something, and did not fail",
    }


def test_damaged_and_foreign_files_are_named_or_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / failures.LOG_FOLDER
    folder.mkdir()
    (folder / "notes-x.txt").write_text("mine")
    (folder / "0001-rank0000.json").write_text('{"attempt": 1')
    failures.record_exception(tmp_path, 2, 0, "it broke", ValueError("it broke"))
    damaged, sound = failures.read(tmp_path)
    assert damaged.failure is None and "0001-rank0000.json: damaged" in damaged.output
    assert sound.failure is not None and sound.failure.cause == "it broke"
