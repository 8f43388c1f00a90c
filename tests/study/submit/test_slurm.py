"""A study on a Slurm of one machine: its real script, on real Ray nodes, preempted on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import in_process, records_of, study_cli, wait_for
from tests.study.submit import small_slurm
from tests.study.submit.small_slurm import WAITING
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE

STEPS, WAIT = 400, 600.0
CLUSTER = "nodes: 2\ncpus_per_node: 1\npartition: cpu\n"
PLANTED = "hunter2-planted"


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a Slurm whose programs come first; all that it ran has ended after the test."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    small_slurm.install(folder)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield folder
    jobs = [f"/ray-{path.stem}/" for path in (folder / "jobs").glob("*.json")]
    for process in psutil.process_iter():
        if any(word in " ".join(_words(process)) for word in (str(folder), *jobs)):
            process.send_signal(signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return path


@pytest.mark.slow
def test_preempted_job_saves_queues_again_and_completes(
    slurm: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_spec: Callable[..., Path],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PLANTED)
    spec, runs = write_spec("preempted", "nano", STEPS), tmp_path / "runs"
    options = ("--on", "slurm", "--cluster", cluster)
    study = planner.load(spec, runs)
    submitted = study_cli("submit", spec, *options, "--runs", runs)
    number = submitted.stderr.split("submitted as ")[1].split(";")[0]
    attached = study_cli("submit", spec, *options, "--runs", runs)
    assert f"runs already as {number}" in attached.stderr

    wait_for(lambda: all(len(_steps(study, point)) > 3 for point in study.points), WAIT)
    subprocess.run(["scancel", "--batch", "--signal=TERM", number], check=True)
    jobs, log = small_slurm.Jobs(slurm), study.directory / f"slurm-{number}.out"
    wait_for(lambda: "queues again" in log.read_text(), WAIT)
    wait_for(lambda: jobs.read(number)["state"] not in WAITING, WAIT)

    text = log.read_text()
    assert jobs.read(number)["state"] == "COMPLETED", text
    assert text.count("queues again") == 1 and text.count("problem ") == 0
    assert text.count("nodes (") == 2 and "all-reduce" in text
    records = records_of(runs, study.name)
    assert {record.status for record in records.values()} == {"finished"}
    assert [_steps(study, point) for point in study.points] == [list(range(5, STEPS + 1, 5))] * 2
    wait_for(lambda: not any(f"/ray-{number}/" in word for word in _words_of_all()))
    assert not Path(f"/tmp/ray-{number}").exists()
    script = (slurm / f"{number}.sh").read_text()
    assert PLANTED not in text + script + submitted.stderr + submitted.stdout


@pytest.mark.slow
def test_jobs_that_share_a_node_do_not_meet(
    slurm: Path, cluster: Path, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    cluster.write_text(CLUSTER.replace("nodes: 2", "nodes: 1"))
    options = ("--on", "slurm", "--cluster", cluster, "--runs", tmp_path / "runs")
    for name in ("one", "other"):
        study_cli("submit", write_spec(name), *options)
    jobs = small_slurm.Jobs(slurm)
    first, second = jobs.numbers()
    wait_for(lambda: not {jobs.read(n)["state"] for n in (first, second)} & WAITING, WAIT)
    logs = [Path(jobs.read(number)["log"]).read_text() for number in (first, second)]
    assert [jobs.read(number)["state"] for number in (first, second)] == ["COMPLETED"] * 2, logs
    assert all("(driver): localhost:" in log and ": 1 nodes" in log for log in logs)


@pytest.mark.slow
def test_stopped_job_saves_and_does_not_queue_again(
    slurm: Path, cluster: Path, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    spec, runs = write_spec("stopped", "nano", STEPS), tmp_path / "runs"
    options = ("--on", "slurm", "--cluster", cluster)
    study = planner.load(spec, runs)
    study_cli("submit", spec, *options, "--runs", runs)
    wait_for(lambda: any(_steps(study, point) for point in study.points), WAIT)
    study_cli("stop", spec, *options)
    [record] = (slurm / "jobs").glob("*.json")
    assert small_slurm.Jobs(slurm).read(record.stem)["state"] == "FAILED"
    again = study_cli("stop", spec, *options, check=False)
    assert again.returncode == 2 and "nothing to stop" in again.stderr
    steps = [_steps(study, point) for point in study.points]
    assert any(steps) and max(map(len, steps)) < STEPS / 5


def test_what_would_fail_in_the_queue_is_one_line_before(
    slurm: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_spec: Callable[..., Path],
) -> None:
    spec, options = write_spec("refused"), ("--on", "slurm", "--cluster", cluster)

    def refused(*more: str | Path) -> str:
        done = in_process("submit", spec, *options, "--runs", *(more or (tmp_path,)), check=False)
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    cluster.write_text(CLUSTER.replace("partition: cpu", "partition: gpu"))
    assert f"{cluster}:3: partition = 'gpu'" in (line := refused())
    assert "Invalid partition name" in line
    cluster.write_text(CLUSTER.replace("cpus_per_node: 1", "cpus_per_node: one"))
    assert f"{cluster}:2: cpus_per_node = 'one'" in refused()
    cluster.write_text(CLUSTER)
    assert "is relative to a job's working directory" in refused("runs")
    assert "Slurm takes no spaces" in refused(tmp_path / "my runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "problem  MLflow: MLflow at http://127.0.0.1:9 does not answer" in refused()
    text = spec.read_text().replace("num_workers: 0", "num_workers: 4")
    spec.write_text(text)
    assert f"{cluster}:1: nodes = 2: a point needs 4 x (1 CPU" in refused()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    spec.write_text(text.replace("num_workers: 4", "num_workers: 2"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "squeue is not on this machine" in refused()


# In place of the real programs: Ray that is there, and a study that says when it was told to stop.
RAY_THERE = "#!/bin/bash\n[ $1 = status ] || exec sleep 60\n"
STUDY_THAT_SAVES = """\
#!/bin/bash
if [ "$1" = -c ]; then echo token; fi
if [ "$2" = cluster ]; then [ ! -e FOLDER/red ]; exit; fi
if [ "$2" = study ]; then trap 'echo saved; kill $!; exit 1' TERM; echo trains; sleep 60 & wait; fi
"""


@pytest.mark.parametrize("told", ["TERM", "USR1", "cancelled", "red"])
def test_script_requeues_what_was_preempted_and_nothing_else(
    told: str, slurm: Path, cluster: Path, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    options = ("--on", "slurm", "--cluster", cluster, "--runs", tmp_path, "--dry-run")
    script = in_process("submit", write_spec("told"), *options).stdout
    for name, text in (("ray", RAY_THERE), ("python", STUDY_THAT_SAVES)):
        (slurm / name).write_text(text.replace("FOLDER", str(slurm)))
        (slurm / name).chmod(0o755)
    if told == "red":
        (slurm / "red").touch()
    (tmp_path / "told").mkdir()
    script = script.replace(str(Path(sys.executable).parent), str(slurm))
    queued = subprocess.run(["sbatch"], input=script, capture_output=True, text=True, check=True)
    number, jobs = queued.stdout.strip(), small_slurm.Jobs(slurm)
    log = tmp_path / "told" / f"slurm-{number}.out"

    def trained() -> int:
        return log.read_text().count("trains") if log.exists() else 0

    wait_for(lambda: jobs.read(number)["state"] == "FAILED" if told == "red" else trained() == 1)
    if told == "cancelled":
        subprocess.run(["scancel", number], check=True)
    elif told != "red":
        subprocess.run(["scancel", "--batch", f"--signal={told}", number], check=True)
    if told == "TERM":
        wait_for(lambda: trained() == 2)
        subprocess.run(["scancel", number], check=True)
    times = {"TERM": 2, "red": 0}.get(told, 1)
    wait_for(lambda: log.read_text().split("\n").count("saved") == times)
    wait_for(lambda: jobs.read(number)["state"] not in WAITING)
    assert log.read_text().count("queues again") == (told == "TERM")
    assert trained() == times
    ended = {"TERM": "CANCELLED", "cancelled": "CANCELLED"}.get(told, "FAILED")
    assert jobs.read(number)["state"] == ended


def test_script_asks_for_what_the_plan_needs(cluster: Path, tmp_path: Path) -> None:
    cluster.write_text("nodes: 9\ncpus_per_node: 4\ngpus_per_node: 2\ngpu_type: a100\n")
    spec = tmp_path / "planned.yaml"
    spec.write_text(
        "study: planned\nmax_total_flops: 1.0e21\nhardware: {accelerator: a100-80g, gpus: 2}\n"
        "grid: {preset: [transformer-s], ffn: [{kind: dense}], seed: [0, 1, 2]}\n"
        "resources: {num_workers: 2, gpus_per_worker: 1}\n"
    )
    options = ("--on", "slurm", "--cluster", cluster, "--runs", tmp_path, "--dry-run")
    script = in_process("submit", spec, *options).stdout
    study = planner.load(spec, tmp_path)
    longest = max(study.price(point).hours["a100-80g"] for point in study.points) / 2
    [hours] = [
        int(line.split("=")[1].split(":")[0]) for line in script.splitlines() if "--time" in line
    ]
    assert 1.5 * longest + 0.5 <= hours < 1.5 * longest + 1.5
    for line in ("--nodes=3", "--gpus-per-node=a100:2", "--cpus-per-task=4"):
        assert f"#SBATCH {line}\n" in script
    cluster.write_text(cluster.read_text() + "max_hours: 2\n")
    assert "#SBATCH --time=2:00:00\n" in in_process("submit", spec, *options).stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=True).returncode == 0
    assert str(Path(sys.executable).parent) in script


def _steps(study: Study, point: planner.Point) -> list[float]:
    path = study.run_dir(point) / METRICS_FILE
    return [row["step"] for row in read_rows(path)[0]] if path.exists() else []


def _words_of_all() -> list[str]:
    """The arguments of all processes; those that have ended and are not waited for have none."""
    return [word for process in psutil.process_iter() for word in _words(process)]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
