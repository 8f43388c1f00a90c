"""Two nodes on one machine: one dies while a point trains on both, and comes back."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.plan import planner
from tests.study.launching import ROOT, launch, records_of, study_cli, wait_for
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE

SECOND_POINT = "    - {kind: lowrank, fraction: 0.3125}\n"
STEPS = 150
AWAY_SECONDS = 5.0


class Nodes:
    """The cluster that `tests.study.nodes` keeps."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.study.nodes"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._answer()
        assert self.address, "the cluster did not start"

    def tell(self, what: str) -> None:
        assert self._process.stdin
        print(what, file=self._process.stdin, flush=True)
        assert self._answer() == "done"

    def close(self) -> None:
        try:
            self._process.communicate(timeout=60)
        finally:
            self._process.kill()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Two nodes of one CPU each, which studies find by RAY_ADDRESS."""
    # Not where other Ray processes of this machine look for a cluster; short, for its sockets.
    scratch = tempfile.mkdtemp(prefix="nodes-", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", scratch)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # A node is lost after 3 s of silence instead of half a minute.
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    cluster = Nodes()
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.mark.slow
def test_point_on_two_nodes_survives_the_loss_of_one(
    nodes: Nodes, write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    whole, broken = (
        _one_point(write_spec(name, preset="nano", steps=STEPS, num_workers=2))
        for name in ("both-nodes", "lost-node")
    )
    study_cli("run", whole, "--runs", runs_dir)
    study = planner.load(broken, runs_dir)
    log = study.run_dir(study.points[0]) / METRICS_FILE
    driver = launch(broken, runs_dir)
    wait_for(lambda: len(read_rows(log)[0]) >= 5)
    assert read_rows(log)[0][-1]["step"] < STEPS
    nodes.tell("lose")
    time.sleep(AWAY_SECONDS)
    nodes.tell("add")
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, output
    assert "retrying" in output
    (expected,) = records_of(runs_dir, "both-nodes").values()
    (record,) = records_of(runs_dir, "lost-node").values()
    assert record.status == "finished"
    assert record.metrics["val_loss"] == pytest.approx(expected.metrics["val_loss"], rel=1e-6)
    assert [row["step"] for row in read_rows(log)[0]] == list(range(5, STEPS + 1, 5))


@pytest.mark.slow
def test_study_stops_when_its_gpu_hours_are_spent(
    nodes: Nodes, write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = _one_point(write_spec("hours", preset="nano", steps=400))
    text = spec.read_text().replace("workers: 0", "workers: 0, gpus_per_worker: 1")
    spec.write_text(f"{text}hardware: {{accelerator: h100}}\nmax_gpu_hours: 0.001\n")
    stopped = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert stopped.returncode == 1, stopped.stderr
    assert "max_gpu_hours = 0.001: 0.00" in stopped.stderr
    assert "GPU-hours are spent; raise it to go on" in stopped.stderr
    (record,) = records_of(runs_dir, "hours").values()
    assert record.status == "interrupted" and record.metrics["train_seconds"] >= 3.6
    refused = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert f"{record.metrics['train_seconds'] / 3600:.4g} GPU-hours are spent" in refused.stderr
    spec.write_text(spec.read_text().replace("0.001", "1"))
    study_cli("run", spec, "--runs", runs_dir)
    (record,) = records_of(runs_dir, "hours").values()
    assert record.status == "finished"
    assert record.metrics["executed_flops"] == record.metrics["train_flops"]
    shown = study_cli("status", spec, "--runs", runs_dir).stdout
    assert "GPU-hours, cap 1" in shown


def _one_point(spec: Path) -> Path:
    spec.write_text(spec.read_text().replace(SECOND_POINT, ""))
    return spec
