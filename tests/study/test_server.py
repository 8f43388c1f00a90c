"""The ledger on a real MLflow server, as a team shares it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.study.launching import study_cli, wait_for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URI of an MLflow server on loopback, with its own database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"),
            *("--artifacts-destination", str(tmp_path / "artifacts")),
        ],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: _answers(uri))
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_study_is_recorded_on_the_server_and_found_there_again(
    server: str, write_spec: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    spec, runs = write_spec("on-a-server"), tmp_path / "runs"
    study_cli("run", spec, "--runs", runs)
    assert not (runs / "mlflow.db").exists()
    # Another machine sees the study through the server alone.
    elsewhere = tmp_path / "elsewhere"
    plan = json.loads(study_cli("plan", spec, "--runs", elsewhere, "--json").stdout)
    assert [point["state"] for point in plan["points"]] == ["finished", "finished"]
    assert "nothing to run" in study_cli("run", spec, "--runs", elsewhere).stderr
    assert (elsewhere / "on-a-server" / "scaling.svg").exists()
