"""Ray's head killed; and a whole study under random kills, equal to its undisturbed twin."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from study.plan import planner
from tests.study.comparing import Recorded, differences
from tests.study.faults import HEAD, KINDS, inject, schedule, write_spec
from tests.study.launching import ROOT, launch, records_of, study_cli, trainer_of, wait_for

TWIN = Recorded(
    status="finished FINISHED",
    metrics={
        "val_loss": [(20, 2.5), (40, 2.25)],
        "train_seconds": [(20, 1.0), (40, 2.0), (40, 2.125)],
    },
)


@pytest.mark.slow
def test_ray_head_killed_ends_the_driver_and_the_same_command_goes_on(
    write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("killed-head", steps=200)
    study = planner.load(spec, runs_dir)
    for name in HEAD:
        driver = launch(spec, runs_dir)
        wait_for(lambda driver=driver: _trains(driver, study.run_dir(study.points[0])))
        children = psutil.Process(driver.pid).children()
        next(child for child in children if child.name() == name).send_signal(signal.SIGKILL)
        output, _ = driver.communicate(timeout=60)
        assert driver.returncode == 1 and f"Ray's {name} died" in output
        assert "Traceback" not in output
    study_cli("run", spec, "--runs", runs_dir)
    assert {record.status for record in records_of(runs_dir, study.name).values()} == {"finished"}


def _trains(driver: subprocess.Popen[str], run_dir: Path) -> bool:
    """Whether it trains there, and not a process that outlived another driver by seconds."""
    trainer = trainer_of(run_dir)
    return trainer is not None and driver.pid in {parent.pid for parent in trainer.parents()}


def test_schedule_is_fixed_by_its_seed_and_kills_each_kind_often_enough() -> None:
    kills = schedule(seed=0, count=20)
    assert kills == schedule(seed=0, count=20) != schedule(seed=1, count=20)
    counts = Counter(kill.kind for kill in kills)
    assert counts.keys() == set(KINDS) and min(counts.values()) >= 3


def test_study_under_faults_mixes_kinds_guides_rates_and_seeds(tmp_path: Path) -> None:
    points = planner.load(write_spec(tmp_path / "mixed.yaml", points=40), ROOT / "runs").points
    assert len(points) == 40
    assert {point.config.model.ffn.kind for point in points} == {
        *("dense", "lowrank", "blockdense", "blockshuffle")
    }
    assert len({point.config.seed for point in points}) == 2
    assert len({point.config.optimizer.learning_rate for point in points}) == 2
    assert {mode and mode.mode for mode in (p.config.model.guide for p in points)} == {
        *(None, "fixed_flops", "fixed_steps")
    }


@pytest.mark.parametrize(
    ("metrics", "found"),
    [
        ({"val_loss": [(20, 2.5), (40, 2.25)]}, ""),
        ({"val_loss": [(20, 2.5), (40, 2.2500000000000004)]}, "val_loss: other values"),
        ({"val_loss": [(40, 2.25)]}, "val_loss: other steps"),
        ({"val_loss": [(20, 2.5), (20, 2.5), (40, 2.25)]}, "val_loss: more than once at step [20]"),
        ({"train_seconds": [(20, 7.0), (40, 9.0)]}, ""),
        ({"train_seconds": [(20, 7.0), (20, 7.0), (40, 9.0)]}, "train_seconds: more than once"),
    ],
)
def test_comparison_sees_what_is_lost_repeated_or_changed(
    metrics: dict[str, list[tuple[int, float]]], found: str
) -> None:
    disturbed = replace(TWIN, metrics=TWIN.metrics | metrics)
    texts = differences({"a": [TWIN]}, {"a": [disturbed]})
    assert (found in texts[0]) if found else (texts == [])
    assert differences({"a": [TWIN]}, {"a": [TWIN, TWIN]}) == ["a: 2 runs"]
    assert differences({"a": [TWIN]}, {}) == ["a: only in one of the two"]


@pytest.mark.slow
def test_study_under_twenty_kills_equals_its_undisturbed_twin(tmp_path: Path) -> None:
    assert inject(tmp_path, seed=0, points=40, kills=20, kinds=KINDS) == 0
