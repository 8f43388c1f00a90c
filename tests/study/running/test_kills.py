"""Real kills: a trainer, a driver with its Ray. No finished result is lost, no number changes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import torch

from study.plan import planner
from study.running import failures
from tests.study.launching import (
    SPEC,
    launch,
    records_of,
    study_cli,
    trainer_of,
    wait_for,
)
from workloads.data import shards
from workloads.data.config import DataConfig
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE
from workloads.run_dir.result import read_result
from workloads.training.trainer import CHECKPOINT_FOLDER, train


@pytest.fixture(scope="module")
def undisturbed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The final validation loss of each point, trained without Ray and never killed."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    spec = scratch / "spec.yaml"
    spec.write_text(SPEC.format(name="undisturbed", preset="nano", steps=100, num_workers=0))
    torch.set_num_threads(1)
    losses: dict[str, float] = {}
    for point in planner.load(spec, runs_dir).points:
        dataset = shards.prepare(DataConfig(), runs_dir / "data")
        result = train(point.config, dataset, scratch / point.id)
        assert result.val_loss is not None
        losses[point.id] = result.val_loss
    return losses


def wait_for_checkpoint(run_dir: Path) -> None:
    """Until the run has a checkpoint and has gone on past it."""

    def passed() -> bool:
        saved = sorted((run_dir / CHECKPOINT_FOLDER).glob("step-*.safetensors"))
        rows, _ = read_rows(run_dir / METRICS_FILE)
        return bool(saved and rows) and rows[-1]["step"] > int(saved[0].stem.split("-")[1])

    wait_for(passed)


def final_losses(runs_dir: Path, study: str) -> dict[str, float]:
    """The validation loss of each point, all of which must have finished."""
    records = records_of(runs_dir, study)
    assert {record.status for record in records.values()} == {"finished"}
    return {point_id: record.metrics["val_loss"] for point_id, record in records.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "num_workers",
    [
        pytest.param(0, id="in the trial"),
        pytest.param(1, id="one Train worker", marks=pytest.mark.slow),
    ],
)
def test_killed_and_preempted_trainers_resume_to_the_same_loss(
    num_workers: int, write_spec: Callable[..., Path], runs_dir: Path, undisturbed: dict[str, float]
) -> None:
    name = f"killed-trainer-{num_workers}"
    spec = write_spec(name, preset="nano", steps=100, num_workers=num_workers)
    study = planner.load(spec, runs_dir)
    driver = launch(spec, runs_dir)
    # SIGTERM is what a node that is taken away sends: the step in hand is saved.
    for point, number in zip(study.points, (signal.SIGKILL, signal.SIGTERM), strict=True):
        run_dir = study.run_dir(point)
        wait_for_checkpoint(run_dir)
        trainer = trainer_of(run_dir)
        assert trainer is not None
        trainer.send_signal(number)
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, output
    assert output.count("retrying") == 2, output
    assert final_losses(runs_dir, name) == undisturbed
    killed, preempted = (read_result(study.run_dir(p), p.fingerprint) for p in study.points)
    assert killed and preempted
    assert killed.executed_flops > killed.train_flops
    assert preempted.executed_flops == preempted.train_flops, output
    assert f"stopped after step {preempted.resumed_step}, which is saved" in output
    # A process that is killed leaves nothing: the driver records that it died.
    (death,) = (trace.failure for trace in failures.read(study.run_dir(study.points[0])))
    assert death and death.process == "driver" and "process died" in death.cause
    for point, result in zip(study.points, (killed, preempted), strict=True):
        metrics = records_of(runs_dir, name)[point.id].metrics
        assert metrics["executed_flops"] == result.executed_flops


def test_killed_driver_and_ray_go_on_with_the_same_command(
    write_spec: Callable[..., Path], runs_dir: Path, undisturbed: dict[str, float]
) -> None:
    spec = write_spec("killed-driver", preset="nano", steps=100)
    study = planner.load(spec, runs_dir)
    driver = launch(spec, runs_dir)
    wait_for_checkpoint(study.run_dir(study.points[0]))
    family = [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    driver.wait()
    interrupted = study_cli("plan", spec, "--runs", runs_dir, "--json").stdout
    assert {point["state"] for point in json.loads(interrupted)["points"]} == {"interrupted"}
    study_cli("run", spec, "--runs", runs_dir)
    assert final_losses(runs_dir, "killed-driver") == undisturbed
    assert_each_step_once(study.run_dir(study.points[0]))


@pytest.mark.slow
def test_stopped_study_says_so_and_goes_on_where_it_was(
    write_spec: Callable[..., Path], runs_dir: Path, undisturbed: dict[str, float]
) -> None:
    spec = write_spec("interrupted", preset="nano", steps=100)
    study = planner.load(spec, runs_dir)
    driver = launch(spec, runs_dir)
    wait_for_checkpoint(study.run_dir(study.points[0]))
    driver.send_signal(signal.SIGTERM)
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 1 and "Traceback" not in output, output
    assert "not finished: 2 interrupted" in output and "nothing to run" not in output
    statuses = {record.status for record in records_of(runs_dir, "interrupted").values()}
    assert statuses == {"interrupted"}
    assert "interrupted: stopped half way" in (study.directory / "report.md").read_text()
    study_cli("run", spec, "--runs", runs_dir)
    assert final_losses(runs_dir, "interrupted") == undisturbed
    for point in study.points:
        result = read_result(study.run_dir(point), point.fingerprint)
        assert result and result.executed_flops == result.train_flops, "steps were repeated"


@pytest.mark.slow
def test_retries_stop_at_the_cap(
    write_spec: Callable[..., Path], runs_dir: Path, undisturbed: dict[str, float]
) -> None:
    spec = write_spec("capped", preset="nano", steps=100)
    study = planner.load(spec, runs_dir)
    text, planned = spec.read_text(), sum(point.train_flops for point in study.points)
    spec.write_text(text.replace("1.0e13", f"{planned}.0"))
    driver = launch(spec, runs_dir)
    killed, sound = study.points
    wait_for_checkpoint(study.run_dir(killed))
    trainer = trainer_of(study.run_dir(killed))
    assert trainer is not None
    trainer.send_signal(signal.SIGKILL)
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 1, output
    records = records_of(runs_dir, "capped")
    assert records[sound.id].metrics["val_loss"] == undisturbed[sound.id]
    assert records[killed.id].status == "failed"
    assert records[killed.id].tags["failure"].startswith("over budget: needs ")
    executed = sum(record.metrics["executed_flops"] for record in records.values())
    assert sound.train_flops < executed <= planned
    assert output.count("retrying") == 1  # that a retry is refused, another would not change
    spec.write_text(text)
    study_cli("run", spec, "--runs", runs_dir)
    assert final_losses(runs_dir, "capped") == undisturbed


@pytest.mark.slow
def test_full_disk_fails_the_point_with_its_cause_and_no_other(
    write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("full-disk")
    study = planner.load(spec, runs_dir)
    full, sound = study.points
    with small_disk(study.run_dir(full) / CHECKPOINT_FOLDER) as disk:
        done = study_cli("run", spec, "--runs", runs_dir, check=False)
        assert list(disk.iterdir()) == []
    assert done.returncode == 1 and done.stderr.count("retrying") == 3
    records = records_of(runs_dir, "full-disk")
    assert records[sound.id].status == "finished"
    assert records[full.id].status == "failed"
    assert records[full.id].tags["failure"].startswith("no space left on the disk: ")
    assert str(disk) in records[full.id].tags["failure"]
    assert "no space left" in study_cli("status", spec, "--runs", runs_dir).stdout


@pytest.mark.slow
def test_a_point_whose_attempts_cannot_be_counted_is_given_up(
    write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("uncountable")
    study = planner.load(spec, runs_dir)
    full, sound = study.points
    with small_disk(study.run_dir(full)) as disk:
        with suppress(OSError):
            (disk / "filler").write_bytes(bytes(10**6))
        done = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert done.returncode == 1 and done.stderr.count("retrying") <= 4
    records = records_of(runs_dir, "uncountable")
    assert records[sound.id].status == "finished" and records[full.id].status == "failed"
    assert "No space left" in records[full.id].tags["failure"]


@pytest.mark.slow
def test_a_worker_that_fails_takes_the_others_along(
    write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("failing-worker", num_workers=2)
    study = planner.load(spec, runs_dir)
    broken, sound = study.points
    # Only the first worker saves, and fails; the second waits for it in the next step.
    study.run_dir(broken).mkdir(parents=True)
    (study.run_dir(broken) / CHECKPOINT_FOLDER).write_text("in the way")
    done = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert done.returncode == 1 and done.stderr.count("retrying") == 3
    records = records_of(runs_dir, "failing-worker")
    assert records[sound.id].status == "finished"
    assert records[broken.id].status == "failed"
    assert (
        f"FileExistsError: [Errno 17] File exists: '{study.run_dir(broken)}"
        in (records[broken.id].tags["failure"])
    )
    traces = failures.read(study.run_dir(broken))
    saved = [trace.failure for trace in traces if trace.process == "rank0000"]
    assert [failure.attempt for failure in saved if failure] == [1, 2, 3, 4]
    assert all("training/trainer.py" in failure.traceback for failure in saved if failure)


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where whoever runs the tests may mount one."""
    directory.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def assert_each_step_once(run_dir: Path) -> None:
    rows, _ = read_rows(run_dir / METRICS_FILE)
    assert [row["step"] for row in rows] == list(range(5, 101, 5))
