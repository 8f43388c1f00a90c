"""MLflow's pages on a study: the view that is stored, and the server that shows it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from study.display import ui
from study.ledger import reader
from study.ledger.provenance import capture
from study.ledger.writer import Tracker
from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import ROOT, in_process, study_command


def recorded(spec: Path, runs: Path) -> Study:
    """A study whose points have runs that have just begun."""
    study = planner.load(spec, runs)
    uri = reader.tracking_uri(runs)
    tracker = Tracker(uri, study.name, runs, study.spec.text, capture())
    for point in study.points:
        tracker.start_point(point, None)
    return study


def test_view_has_what_varies_and_what_was_measured(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    study = planner.load(write_spec("viewed"), tmp_path)
    columns = ui.view(study)["selectedColumns"]
    assert isinstance(columns, list)
    # Two kinds of FFN at one size: the kind and what follows from it vary, preset and seed do not.
    assert {"params.`arm`", "params.`ffn_kind`", "params.`params`"} <= set(columns)
    assert {"params.`preset`", "params.`seed`", "params.`steps`"}.isdisjoint(columns)
    assert {"metrics.`val_loss`", "tags.`status`"} <= set(columns)
    assert len(columns) == len(set(columns))
    assert columns.index("metrics.`val_loss`") == 1  # what is sorted by stands in view


def test_page_is_served_on_loopback_only_and_ends_with_the_command(
    write_spec: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    study = recorded(write_spec("served"), tmp_path / "runs")
    process = subprocess.Popen(
        study_command("ui", study.spec.path, "--runs", study.runs_dir),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        port = int(address.split(":")[2].split("/")[0])
        with urllib.request.urlopen(address.partition("#")[0], timeout=10) as answer:
            assert answer.status == 200
        servers = psutil.Process(process.pid).children(recursive=True)
        listening = {
            connection.laddr.ip
            for server in servers
            for connection in server.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        # Everybody can read arguments, and the address of a database may hold a password.
        words = [word for server in servers for word in server.cmdline()]
        assert "server" in words and not [word for word in words if "mlflow.db" in word]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert process.returncode == 0
    assert not [server for server in servers if _is_alive(server)]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    client = MlflowClient(reader.tracking_uri(study.runs_dir))
    experiment = client.get_experiment_by_name("served")
    assert experiment is not None and f"/experiments/{experiment.experiment_id}/" in address
    view = json.loads(experiment.tags["mlflow.sharedViewState.study"])
    assert len(client.search_runs([experiment.experiment_id], view["searchFilter"])) == 2
    assert len(client.search_runs([experiment.experiment_id])) == 3  # with the study's own run


def test_study_without_runs_makes_no_ledger(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    done = in_process("ui", write_spec("unseen"), "--runs", tmp_path / "runs", check=False)
    assert done.returncode == 2 and "has no runs in" in done.stderr
    assert not (tmp_path / "runs").exists()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
