"""What the commands cost: a run with nothing to do reads the ledger once."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from study.plan import planner
from tests.study.launching import in_process
from tests.study.recording import record


def test_a_run_with_nothing_to_do_reads_the_ledger_once_and_writes_the_report(
    write_spec: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, runs = write_spec("complete"), tmp_path / "runs"
    study = planner.load(spec, runs)
    record(study, study.points)
    read: list[str] = []
    connect = sqlite3.connect

    def counted(database: str, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        read.append(database)
        return connect(database, *args, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", counted)
    monkeypatch.setattr(mlflow, "MlflowClient", None)
    for _ in range(2):
        (study.directory / "report.md").unlink(missing_ok=True)
        read.clear()
        done = in_process("run", spec, "--runs", runs)
        assert "nothing to run" in done.stderr and "report.html" in done.stdout
        assert [path for path in read if "mlflow.db" in path] == [
            f"file:{(runs / 'mlflow.db').resolve()}?mode=rw"
        ]
        assert study.points[1].id in (study.directory / "report.md").read_text()


def test_a_report_without_runs_is_one_line(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    done = in_process("report", write_spec("empty"), "--runs", tmp_path / "runs", check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "has no runs yet; start it with: python -m study run" in done.stderr


def test_brackets_in_names_and_paths_are_printed_as_they_are(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, runs = write_spec("brackets"), tmp_path / "b[i]b" / "[/x]"
    spec.write_text(spec.read_text().replace("kind: dense", 'kind: dense, arm: "[/x]"'))
    study = planner.load(spec, runs)
    record(study, study.points)
    for command in ("plan", "status", "run", "report"):
        done = in_process(command, spec, "--runs", runs)
        if command in ("run", "report"):
            assert f"report: {study.directory / 'report.html'}\n" in done.stdout
            assert "[/x]" in done.stdout.replace(str(runs), "")
    done = in_process("export", spec, tmp_path / "out[b]", "--runs", runs)
    assert done.stderr == f"2 runs written to {tmp_path / 'out[b]'}\n"


@pytest.mark.parametrize("command", ["run", "plan", "status", "report", "export", "adopt"])
@pytest.mark.parametrize("in_the_way", ["runs", "runs/blocked"])
def test_a_file_in_the_way_of_a_folder_is_one_line(
    in_the_way: str, command: str, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, file = write_spec("blocked"), tmp_path / in_the_way
    file.parent.mkdir(exist_ok=True)
    file.touch()
    more = {"export": [tmp_path / "out"], "adopt": ["--from", tmp_path]}.get(command, [])
    done = in_process(command, spec, *more, "--runs", tmp_path / "runs", check=False)
    assert done.stderr.count("\n") <= 1 and "Traceback" not in done.stderr
    if command == "run":
        assert done.returncode == 2 and str(file) in done.stderr
        assert "move away what is in the way" in done.stderr


def test_a_runs_folder_that_can_be_none_is_one_line(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for runs, words in (
        ("file:///tmp/x", "begins as a URI does"),
        (tmp_path / "loop", "a loop of links"),
        (tmp_path / os.fsdecode(b"b\xff") / "runs", "a name that is not UTF-8; choose another"),
        (tmp_path / ("x" * 300), "File name too long; choose a shorter path"),
    ):
        done = in_process("run", write_spec("nowhere"), "--runs", runs, check=False)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert words in done.stderr


def test_a_file_that_may_not_grow_is_named_with_the_cure(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, out, runs = write_spec("full"), tmp_path / "out", tmp_path / "new"
    study = planner.load(spec, tmp_path / "runs")
    record(study, study.points)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for command, arguments, place in (
        ("report", (spec, "--runs", study.runs_dir), study.directory),
        ("export", (spec, out, "--runs", study.runs_dir), out),
        ("run", (write_spec("new"), "--runs", runs), runs / ".mlflow.db.unfinished"),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
        try:
            done = in_process(command, *arguments, check=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith(str(place)) and "(ulimit -f)" in done.stderr


@pytest.mark.parametrize("name", ["data", "mlartifacts"])
def test_a_new_study_cannot_be_named_as_a_folder_of_all(
    name: str, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, runs = write_spec(name), tmp_path / "runs"
    for command in ("plan", "run", "adopt", "report"):
        more = ["--from", tmp_path] if command == "adopt" else []
        done = in_process(command, spec, *more, "--runs", runs, check=False)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert f"{spec}:1: study = '{name}': the runs folder has a folder of this" in done.stderr
    study = planner.load(spec, runs)
    record(study, study.points)
    for command in ("plan", "run", "status", "report"):
        in_process(command, spec, "--runs", runs)
