"""The preflight on this machine and on a real Ray cluster with a node on which all is wrong."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.nodes import Failure, Node
from cluster.preflight import MOST_SECONDS_APART, judged_clock, judged_gpus
from tests.study.launching import ROOT, SPEC, free_ports, listens, wait_for

RAY = Path(sys.executable).parent / "ray"
PLANTED = "hunter2-planted"


def preflight(
    *arguments: str | Path, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m cluster preflight` in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "cluster", "preflight", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, Any]]]:
    """The findings by their names."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(done.stdout):
        found.setdefault(row["name"], []).append(row)
    return found


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "checked.yaml"
    path.write_text(SPEC.format(name="checked", preset="pico", steps=20, num_workers=0))
    return path


class Refusing(BaseHTTPRequestHandler):
    """A server that lives, and lets nobody in: an MLflow whose password has expired."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_this_machine_is_ready_but_for_the_ledger_that_refuses(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"127.0.0.1:{server.server_port}"
    try:
        uri = f"http://team:{PLANTED}@{place}"
        done = preflight(spec, "--runs", tmp_path, folder=tmp_path, MLFLOW_TRACKING_URI=uri)
    finally:
        server.shutdown()
    assert done.returncode == 1, done.stderr
    [problem] = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert problem.startswith("problem  MLflow (driver): the server at")
    assert "does not let this user in; set MLFLOW_TRACKING_USERNAME" in problem
    assert PLANTED not in done.stdout + done.stderr
    for word in ("storage", "exchange", "code", "placement", "data"):
        assert f"ok       {word} (" in done.stdout
    assert "all-reduce of 32 MiB by 2 processes" in done.stdout
    assert not list(tmp_path.glob(".preflight*"))


def test_wrong_addresses_and_files_are_one_line(tmp_path: Path) -> None:
    done = preflight("--runs", tmp_path, folder=tmp_path, RAY_ADDRESS="127.0.0.1:9")
    [problem] = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert done.returncode == 1 and "Ray at 127.0.0.1:9 does not answer" in problem
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("study: wrong\nmax_total_flops: lots\n")
    done = preflight(wrong, folder=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"{wrong}:2: max_total_flops = 'lots'" in done.stderr


def test_clock_is_judged_by_when_it_was_read() -> None:
    assert judged_clock("a", 99.0, 100.0, 101.0).ok
    assert judged_clock("a", 101.0 + MOST_SECONDS_APART, 100.0, 101.0).ok
    ahead = judged_clock("a", 161.0, 100.0, 101.0)
    assert "60 s ahead of" in ahead.found and "timedatectl" in ahead.cure
    assert "at least 60 s behind" in judged_clock("a", 40.0, 100.0, 101.0).found
    assert not judged_clock("a", Failure("gone"), 100.0, 101.0).ok


def test_gpus_are_those_that_ray_offers_and_hold_the_plan() -> None:
    node = Node("a", "10.0.0.1", 2)
    assert judged_gpus(node, [80_000_000_000] * 2, 79e9).ok
    small = judged_gpus(node, [80_000_000_000, 40_000_000_000], 79e9)
    assert "40 GB on each of 2 GPUs, 79 GB planned" in small.found and "fsdp" in small.cure
    assert "offers 2 GPUs, and nvidia-smi shows 1" in judged_gpus(node, [80_000_000_000], 0).found


@pytest.fixture
def odd_cluster(tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    """Address, token and runs folder of two nodes, on one of which all is wrong.

    That node has another working copy of the code, and its own small disk where the driver has the
    runs folder. Ray has been told of a GPU there that does not exist.
    """
    token, runs = secrets.token_hex(32), tmp_path / "runs"
    runs.mkdir()
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "tests")
    shutil.copytree(ROOT, copy, ignore=ignored)
    with (copy / "workloads" / "errors.py").open("a") as file:
        file.write("# Another version.\n")
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray puts sockets there
    gcs, dashboard, client = free_ports(3)
    common = ("--block", "--num-cpus=1", "--disable-usage-stats", "--dashboard-agent-listen-port=0")
    head_options = (
        *("--head", f"--port={gcs}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"),
        *(f"--ray-client-server-port={client}", f"--temp-dir={folder}"),
    )
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    environment.pop("RAY_ADDRESS", None)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    own_disk = f'mount -t tmpfs -o size=1m none {runs} && exec "$@"'
    processes = [
        subprocess.Popen(
            [RAY, "start", *head_options, *common],
            env=environment | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            start_new_session=True,
            **quiet,
        )
    ]
    try:
        wait_for(lambda: listens(dashboard))
        join = [RAY, "start", f"--address=127.0.0.1:{gcs}", "--num-gpus=1", *common]
        processes.append(
            subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", own_disk, "sh", *join],
                env=environment | {"PYTHONPATH": str(copy)},
                cwd=tmp_path,
                start_new_session=True,
                **quiet,
            )
        )
        yield f"127.0.0.1:{gcs}", token, runs
    finally:
        family = [psutil.Process(p.pid) for p in processes if p.poll() is None]
        for process in [*family, *(c for p in family for c in p.children(recursive=True))]:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        for process in processes:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process its own disks")
def test_each_thing_that_is_wrong_on_a_node_is_one_line_with_its_cure(
    odd_cluster: tuple[str, str, Path], spec: Path, tmp_path: Path
) -> None:
    address, token, runs = odd_cluster
    arguments = (spec, "--runs", runs, "--nodes", "2", "--json")
    settings = {"RAY_ADDRESS": address, "RAY_AUTH_TOKEN": token}
    done = preflight(*arguments, folder=tmp_path, **settings)
    assert done.returncode == 1, done.stderr
    found = rows(done)
    [odd] = {row["where"] for row in found["code"] if not row["ok"]}
    assert found["nodes"][0]["found"] == "2" and odd in found["nodes"][0]["where"]
    bad = {name: [r for r in given if not r["ok"]] for name, given in found.items()}
    bad = {name: given for name, given in bad.items() if given}
    words = {
        "code": "(driver: ",
        "disk": "0 GB free in",
        "storage": "what the driver writes is not seen there",
        "GPU memory": "Ray offers 1 GPUs, and nvidia-smi shows 0",
    }
    for name, text in words.items():
        [row] = bad.pop(name)
        assert row["where"] == odd and text in row["found"] and row["cure"]
    # It asked for a GPU that is none.
    assert bad.keys() <= {"exchange"}
    assert token not in done.stdout + done.stderr

    other = settings | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    refused = preflight("--runs", runs, folder=tmp_path, **other)
    [problem] = [line for line in refused.stdout.splitlines() if not line.startswith("ok ")]
    assert "refuses the token of this environment; set RAY_AUTH_TOKEN" in problem
    assert refused.stderr == ""
