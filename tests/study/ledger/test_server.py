"""The ledger on a real MLflow server, as a team shares it; and the server killed."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import in_process, launch, study_cli, wait_for
from tests.study.mlflow_server import MlflowServer
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE
from workloads.run_dir.result import read_result

# Metrics whose last value a driver may add to when the run has ended.
TOTALS = {"train_seconds", "executed_flops"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A server that every command of the test uses."""
    running = MlflowServer(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.uri)
    try:
        yield running
    finally:
        running.kill()


def assert_delivered_once(uri: str, study: Study) -> None:
    """MLflow has every point once, finished, with each recorded row once and as it was recorded."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    for point in study.points:
        (run,) = client.search_runs([experiment.experiment_id], f"tags.point_id = '{point.id}'")
        assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "finished")
        rows, _ = read_rows(study.run_dir(point) / METRICS_FILE)
        assert [row["step"] for row in rows] == list(range(5, point.config.total_steps + 1, 5))
        for name in rows[-1].keys() - TOTALS - {"step", "timestamp_ms"}:
            history = client.get_metric_history(run.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [
                (row["step"], row[name]) for row in rows if name in row
            ]


@pytest.mark.slow
def test_study_is_recorded_on_the_server_and_found_there_again(
    server: MlflowServer, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, runs = write_spec("on-a-server"), tmp_path / "runs"
    study_cli("run", spec, "--runs", runs)
    assert not (runs / "mlflow.db").exists()
    assert_delivered_once(server.uri, planner.load(spec, runs))
    # Another machine sees the study through the server alone.
    elsewhere = tmp_path / "elsewhere"
    planned = json.loads(in_process("plan", spec, "--runs", elsewhere, "--json").stdout)
    assert [point["state"] for point in planned["points"]] == ["finished", "finished"]
    assert "nothing to run" in in_process("run", spec, "--runs", elsewhere).stderr
    assert (elsewhere / "on-a-server" / "scaling.svg").exists()
    # A server that accepts connections and says nothing is one line, soon.
    server.signal(signal.SIGSTOP)
    assert_one_line("status", spec, tmp_path, "does not answer")
    server.signal(signal.SIGCONT)


@pytest.mark.parametrize("command", ["plan", "status", "run"])
def test_a_server_that_is_away_is_one_line(
    command: str,
    write_spec: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert_one_line(command, write_spec("away"), tmp_path, f"MLflow at {uri} does not answer")


def assert_one_line(command: str, spec: Path, tmp_path: Path, text: str) -> None:
    began = time.monotonic()
    done = in_process(command, spec, "--runs", tmp_path / "runs", check=False)
    assert time.monotonic() - began < 30  # 15, and what a busy machine adds
    assert done.returncode == 2 and text in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_server_away_for_a_minute_gets_everything_once(
    server: MlflowServer, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, runs = write_spec("outage", preset="nano", steps=400), tmp_path / "runs"
    study = planner.load(spec, runs)
    driver = launch(spec, runs)
    log = study.run_dir(study.points[0]) / METRICS_FILE
    wait_for(lambda: len(read_rows(log)[0]) > 2)
    server.kill()
    before = len(read_rows(log)[0])
    time.sleep(60)
    assert len(read_rows(log)[0]) > before + 5, "training waited for the server"
    server.start()
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    assert_delivered_once(server.uri, study)


@pytest.mark.slow
def test_what_a_server_that_stays_away_lacks_is_delivered_by_the_next_run(
    server: MlflowServer, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, runs = write_spec("undelivered", preset="nano", steps=100), tmp_path / "runs"
    study = planner.load(spec, runs)
    driver = launch(spec, runs)
    log = study.run_dir(study.points[0]) / METRICS_FILE
    wait_for(lambda: len(read_rows(log)[0]) > 2)
    server.kill()
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 1 and "Traceback" not in output, output
    assert "MLflow lacks some of the results" in output and "same command delivers" in output
    assert all(read_result(study.run_dir(p), p.fingerprint) for p in study.points)
    server.start()
    again = study_cli("run", spec, "--runs", runs)
    assert "delivered to MLflow now: 2" in again.stderr and "started" not in again.stderr
    assert_delivered_once(server.uri, study)
