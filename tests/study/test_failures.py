"""Real kills: a trainer, a driver with its Ray. No finished result is lost, no number changes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from study import plan
from tests.study.launching import (
    SPEC,
    launch,
    records_of,
    study_cli,
    trainer_of,
    wait_for,
)
from workloads.data import shards
from workloads.record import METRICS_FILE, read_rows
from workloads.train import CHECKPOINT_FOLDER, train


@pytest.fixture(scope="module")
def undisturbed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The final validation loss of each point, trained without Ray and never killed."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    spec = scratch / "spec.yaml"
    spec.write_text(SPEC.format(name="undisturbed", preset="nano", steps=100, num_workers=0))
    torch.set_num_threads(1)
    losses: dict[str, float] = {}
    for point in plan.load(spec, runs_dir).points:
        dataset = shards.prepare(point.config.data, runs_dir / "data")
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


@pytest.mark.parametrize("num_workers", [0, 1], ids=["in the trial", "one Train worker"])
def test_killed_trainer_resumes_to_the_same_loss(
    num_workers: int, write_spec: Callable[..., Path], runs_dir: Path, undisturbed: dict[str, float]
) -> None:
    name = f"killed-trainer-{num_workers}"
    spec = write_spec(name, preset="nano", steps=100, num_workers=num_workers)
    study = plan.load(spec, runs_dir)
    driver = launch(spec, runs_dir)
    run_dir = study.run_dir(study.points[0])
    wait_for_checkpoint(run_dir)
    trainer = trainer_of(run_dir)
    assert trainer is not None
    trainer.send_signal(signal.SIGKILL)
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, output
    assert "retrying" in output
    assert final_losses(runs_dir, name) == undisturbed


def test_killed_driver_and_ray_go_on_with_the_same_command(
    write_spec: Callable[..., Path], runs_dir: Path, undisturbed: dict[str, float]
) -> None:
    spec = write_spec("killed-driver", preset="nano", steps=100)
    study = plan.load(spec, runs_dir)
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


def test_interrupted_study_says_so_and_goes_on(
    write_spec: Callable[..., Path], runs_dir: Path, undisturbed: dict[str, float]
) -> None:
    spec = write_spec("interrupted", preset="nano", steps=100)
    study = plan.load(spec, runs_dir)
    driver = launch(spec, runs_dir)
    wait_for_checkpoint(study.run_dir(study.points[0]))
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 1 and "Traceback" not in output
    assert "not finished: 2 interrupted" in output and "nothing to run" not in output
    statuses = {record.status for record in records_of(runs_dir, "interrupted").values()}
    assert statuses == {"interrupted"}
    assert "interrupted: stopped half way" in (study.directory / "report.md").read_text()
    study_cli("run", spec, "--runs", runs_dir)
    assert final_losses(runs_dir, "interrupted") == undisturbed


def assert_each_step_once(run_dir: Path) -> None:
    rows, _ = read_rows(run_dir / METRICS_FILE)
    assert [row["step"] for row in rows] == list(range(5, 101, 5))
