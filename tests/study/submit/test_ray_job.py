"""A study as a job of a real Ray head: stopped half way, submitted again; and what is sent."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from study.ledger import provenance, reader
from study.plan import planner
from study.plan.planner import Study
from study.submit import ray_job
from tests.study.launching import (
    ROOT,
    SPEC,
    free_ports,
    in_process,
    listens,
    records_of,
    study_cli,
    wait_for,
)
from workloads.errors import InputError
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE
from workloads.training.trainer import CHECKPOINT_FOLDER

# Long enough that a second point still trains while `study stop` starts.
STEPS = 400
PLANTED = "hunter2-planted"
RAY = Path(sys.executable).parent / "ray"


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """The folder of Ray's sessions; a short path, because Ray puts sockets there."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(ray_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dashboard's URL of a Ray head of one CPU, which ends with all of its processes."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PLANTED)
    # Jobs call `python`, and Ray's own cluster is none of theirs.
    monkeypatch.setenv("PATH", f"{RAY.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    gcs, dashboard, client, agent = free_ports(4)
    head = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", "--num-cpus=1", "--disable-usage-stats"),
            *(f"--port={gcs}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"),
            *(f"--ray-client-server-port={client}", f"--temp-dir={ray_folder}"),
            # Another Ray of this machine may have the usual port, and this one would get no job.
            f"--dashboard-agent-listen-port={agent}",
        ],
        env=os.environ | {"RAY_AUTH_MODE": "token"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{dashboard}"
        wait_for(lambda: listens(dashboard))
        yield url
    finally:
        family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
        family += [p for p in psutil.process_iter() if _mentions(p, str(ray_folder))]
        for process in family:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        head.wait()


@pytest.mark.slow
def test_stopped_job_is_submitted_again_and_nothing_runs_twice(
    cluster: str, ray_folder: Path, tmp_path: Path
) -> None:
    spec, runs = tmp_path / "submitted.yaml", tmp_path / "runs"
    spec.write_text(SPEC.format(name="submitted", preset="nano", steps=STEPS, num_workers=0))
    study = planner.load(spec, runs)
    first, second = sorted(study.points, key=lambda point: -point.train_flops)
    arguments = (spec, "--address", cluster)

    submitted = study_cli("submit", *arguments, "--runs", runs)
    assert "submitted as study-submitted-1" in submitted.stderr
    attached = study_cli("submit", *arguments, "--runs", runs)
    assert "runs already as study-submitted-1" in attached.stderr

    wait_for(lambda: (study.run_dir(second) / CHECKPOINT_FOLDER).exists(), 600)
    wait_for(lambda: len(_steps(study, second)) > 3, 600)
    study_cli("stop", *arguments)
    states = json.loads(study_cli("status", spec, "--runs", runs, "--json").stdout)["points"]
    assert [p["state"] for p in states if p["id"] == first.id] == ["finished"]
    assert [p["state"] for p in states if p["id"] == second.id] == ["interrupted"]
    finished = records_of(runs, "submitted")[first.id]
    again = study_cli("stop", *arguments, check=False)
    assert again.returncode == 2 and "there is nothing to stop" in again.stderr

    resumed = study_cli("submit", *arguments, "--runs", runs, "--follow")
    started = [line for line in resumed.stdout.splitlines() if "started" in line]
    assert len(started) == 1 and second.id in started[0], resumed.stdout
    records = records_of(runs, "submitted")
    assert {record.status for record in records.values()} == {"finished"}
    assert records[first.id] == finished
    assert [_steps(study, point) for point in study.points] == [list(range(5, STEPS + 1, 5))] * 2
    _check_provenance(study)

    # What the cluster and the runs folder have written of it all holds no secret.
    logs = [path for path in ray_folder.glob("session_2*/logs/**/*") if path.is_file()]
    written = [*logs, *(path for path in runs.rglob("*") if path.is_file())]
    assert len(logs) > 10
    for secret in (PLANTED, os.environ["RAY_AUTH_TOKEN"]):
        assert [path for path in written if secret.encode() in path.read_bytes()] == []
        assert secret not in _records_of_jobs(cluster)
        assert secret not in submitted.stdout + submitted.stderr + resumed.stdout + resumed.stderr

    by_ray = subprocess.run(
        [
            *(RAY, "job", "submit", "--address", cluster, "--working-dir", ROOT, "--"),
            *("python", "-m", "study", "run", spec, "--runs", runs),
        ],
        env=os.environ | {"RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert by_ray.returncode == 0 and "nothing to run" in by_ray.stdout, by_ray.stdout


def test_job_whose_runs_would_be_lost_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "lost.yaml"
    spec.write_text(SPEC.format(name="lost", preset="pico", steps=20, num_workers=0))
    sent = in_process("submit", spec, "--address", "http://127.0.0.1:9", check=False)
    monkeypatch.setenv(ray_job.JOB_VARIABLE, "{}")  # what Ray's jobs find in their environment
    inside = in_process("run", spec, check=False)
    for done in (sent, inside):
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert "relative to a job's working directory" in done.stderr
        assert "STUDY_RUNS" in done.stderr


def test_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    spec = tmp_path / "nowhere.yaml"
    spec.write_text(SPEC.format(name="nowhere", preset="pico", steps=20, num_workers=0))
    with pytest.raises(InputError, match=r"Ray at http://127.0.0.1:9: Failed to connect"):
        ray_job.RayCluster("http://127.0.0.1:9").submit(planner.load(spec, tmp_path))


def test_packed_code_has_the_provenance_of_its_checkout(tmp_path: Path) -> None:
    spec = tmp_path / "packed.yaml"
    spec.write_text(SPEC.format(name="packed", preset="pico", steps=20, num_workers=0))
    folder = tmp_path / "folder"
    folder.mkdir()
    ray_job._pack(planner.load(spec, tmp_path), folder)
    assert {path.name for path in folder.iterdir()} == {
        *ray_job.PACKAGES,
        *("packed.yaml", provenance.PACKED_FILE, ray_job.SETTINGS_FILE),
    }
    code = (
        "import json; from study.ledger.provenance import *\nprint(json.dumps(asdict(capture())))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    here, there = provenance.capture(), json.loads(shown)
    assert (there["commit"], there["diff"]) == (here.commit, here.diff)
    assert there["submitted_from"] == here.host and here.submitted_from == ""


def test_job_is_shown_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "shown.yaml"
    spec.write_text(SPEC.format(name="shown", preset="pico", steps=20, num_workers=0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://team:{PLANTED}@127.0.0.1:9")
    monkeypatch.setenv("RAY_AUTH_TOKEN", PLANTED)
    options = ("--address", "http://127.0.0.1:9", "--runs", tmp_path, "--dry-run")
    shown = in_process("submit", spec, *options).stdout
    assert PLANTED not in shown and "MLFLOW_TRACKING_URI" in shown
    assert json.loads(shown)["entrypoint"].endswith(f"study run shown.yaml --runs {tmp_path}")


def test_settings_of_the_packed_folder_are_taken_in_a_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ray_job.SETTINGS_FILE).write_text(json.dumps({"MLFLOW_SUBMITTED": PLANTED}))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("MLFLOW_SUBMITTED", "mine")
    ray_job.take_settings()
    assert os.environ["MLFLOW_SUBMITTED"] == "mine"
    monkeypatch.setenv(ray_job.JOB_VARIABLE, "{}")
    ray_job.take_settings()
    assert os.environ["MLFLOW_SUBMITTED"] == PLANTED


def _records_of_jobs(url: str) -> str:
    """What the cluster tells of its jobs to whoever has the token."""
    token = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    request = urllib.request.Request(f"{url}/api/jobs/", headers=token)
    with urllib.request.urlopen(request, timeout=10) as answer:
        records = answer.read().decode()
    assert "study-submitted-1" in records
    return records


def _check_provenance(study: Study) -> None:
    client = MlflowClient(reader.tracking_uri(study.runs_dir))
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    [parent] = client.search_runs([experiment.experiment_id], "tags.role = 'study'")
    folder = client.download_artifacts(parent.info.run_id, "provenance.json")
    recorded, here = json.loads(Path(folder).read_text()), provenance.capture()
    assert (recorded["commit"], recorded["submitted_from"]) == (here.commit, here.host)
    assert recorded["command"].startswith("python -m study submit")


def _steps(study: Study, point: planner.Point) -> list[float]:
    rows, _ = read_rows(study.run_dir(point) / METRICS_FILE)
    return [row["step"] for row in rows]


def _mentions(process: psutil.Process, text: str) -> bool:
    try:
        return any(text in word for word in process.cmdline())
    except psutil.Error:
        return False
