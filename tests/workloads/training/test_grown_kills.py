"""Processes of grown runs that are killed before, at and right after growth, anywhere."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.small_runs import assert_same_run, kill_after, pico, rows_of, start
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.training.trainer import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_cpu")]

BOTH = {"layers": 3, "width": 64}
ONE: dict[str, list[dict[str, Any]]] = {
    "stack": [{"operator": "stack", "factor": 2, "optimizer_state": "carry"}],
    "split": [{"operator": "split", "width": 64, "optimizer_state": "asymmetric"}],
    "zero": [{"operator": "zero"} | BOTH],
    "random": [{"operator": "random", "mask_steps": 3} | BOTH],
    "learn": [{"operator": "learn", "learn_steps": 3} | BOTH],
}
ROWS = ONE | {
    "stack-split": [ONE["stack"][0], ONE["split"][0]],
    "random-learn": [ONE["random"][0], {"operator": "learn", "layers": 4, "learn_steps": 3}],
    "learn-random": [ONE["learn"][0], {"operator": "random", "layers": 5, "mask_steps": 3}],
}
STEPS = 18


def grown(growths: list[dict[str, Any]], **runtime: Any) -> RunConfig:
    """Eighteen steps; the model grows after the first six and, where it does so twice, after
    twelve."""
    after = [{"fraction": 1 / 3}, {"fraction": 2 / 3}]
    listed = [growth | {"at": at} for growth, at in zip(growths, after, strict=False)]
    intervals = {"eval_interval": 4, "checkpoint_interval": 4}
    return pico(grow=listed, budget={"steps": STEPS}, runtime=intervals | runtime)


def places(config: RunConfig) -> list[int]:
    """The last step before each phase, its first, and the next."""
    starts = [phase.start for phase in config.phases[1:]]
    return sorted({step + around for step in starts for around in (-1, 0, 1, 2)})


@pytest.mark.parametrize("name", ROWS)
def test_a_process_killed_around_every_growth_ends_with_the_same_bits(
    name: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    """One run, killed once at each of these steps."""
    config = grown(ROWS[name])
    whole = train(config, stdlib, tmp_path / "whole")
    for step in places(config):
        kill_after(config, stdlib, tmp_path / "killed", step)
    found = train(config, stdlib, tmp_path / "killed")
    assert (found.val_loss, found.step) == (whole.val_loss, STEPS)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", ["stack-split", "random-learn"])
def test_two_workers_killed_around_every_growth_end_as_two_that_were_not(
    name: str, parallel: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = grown(ROWS[name], parallel=parallel, micro_batch_size=4)
    ended = on_two(config, stdlib, tmp_path / "whole")
    for step in places(config)[::2]:
        on_two(config, stdlib, tmp_path / "killed", kill_at=step)
    assert on_two(config, stdlib, tmp_path / "killed") == ended
    assert len(ended) == 2 and ended[0] == ended[1] and math.isfinite(ended[0])
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def on_two(
    config: RunConfig, dataset: TokenDataset, run_dir: Path, kill_at: int = STEPS + 1
) -> list[float]:
    """Train by two processes, and kill both once the step is recorded; their losses at the end."""
    run_dir.with_suffix(".rendezvous").unlink(missing_ok=True)
    workers = [start(config, dataset, run_dir, rank, 2) for rank in range(2)]
    deadline = time.monotonic() + 120
    while kill_at <= STEPS and not any(row["step"] >= kill_at for row in rows_of(run_dir)):
        assert [worker.poll() for worker in workers] == [None, None]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    if kill_at <= STEPS:
        for worker in workers:
            worker.kill()
    printed = [worker.communicate(timeout=120)[0] for worker in workers]
    return [float(text) for text in printed if text and kill_at > STEPS]
