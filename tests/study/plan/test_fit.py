"""`runtime: {fit: auto}`: the plan chooses how each point executes, and what is tried after it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from study.plan import planner
from study.running import failures, trial
from study.spec.study_file import Resources
from workloads.config.runtime import RuntimeConfig
from workloads.cost.accelerators import ACCELERATORS
from workloads.cost.memory import peak_memory
from workloads.data.config import PathConfig
from workloads.errors import InputError

SPEC = """\
study: fits
max_total_flops: 1.0e30
grid:
  preset: [transformer-xl]
  model: {block_size: 32768}
  batch_size: [4]
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.3125}]
budget: {steps: 20}
eval_tokens: 65536
"""
HARDWARE = "hardware: {accelerator: h100, host_memory_gb: 128}\n"
FIT = "runtime: {fit: auto, log_interval: 3}\n"


def plan(tmp_path: Path, runs_dir: Path, text: str) -> planner.Study:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return planner.load(path, runs_dir)


def test_every_point_gets_settings_that_fit_and_keeps_its_identity(
    tmp_path: Path, runs_dir: Path
) -> None:
    study = plan(tmp_path, runs_dir, SPEC + HARDWARE + FIT)
    written = plan(tmp_path, runs_dir, SPEC)
    for point, unchosen in zip(study.points, written.points, strict=True):
        runtime = point.config.runtime
        assert (point.id, point.fingerprint) == (unchosen.id, unchosen.fingerprint)
        assert runtime.fit is None and runtime.log_interval == 3
        peak, before = peak_memory(point.config), peak_memory(unchosen.config)
        assert peak.device_bytes <= ACCELERATORS["h100"].memory_bytes < before.device_bytes
        assert peak.host_bytes <= 128e9
        assert point.next_runtime is not None
        after = peak_memory(point.config.model_copy(update={"runtime": point.next_runtime}))
        assert after.device_bytes < peak.device_bytes
    assert written.points[0].next_runtime is None


def test_without_stated_cpu_memory_nothing_is_moved_there(tmp_path: Path, runs_dir: Path) -> None:
    study = plan(tmp_path, runs_dir, SPEC + "hardware: {accelerator: h100}\n" + FIT)
    assert [peak_memory(point.config).host_bytes for point in study.points] == [0, 0]


def test_fit_asks_for_hardware_and_names_what_fits_nowhere(tmp_path: Path, runs_dir: Path) -> None:
    with pytest.raises(InputError, match=r"add hardware: \{accelerator: h100, host_memory"):
        plan(tmp_path, runs_dir, SPEC + FIT)
    long = SPEC.replace("32768", "1048576").replace("65536", "1048576")
    with pytest.raises(InputError, match=r"grid.model.block_size = 1048576.*use model.block_size"):
        plan(tmp_path, runs_dir, long + HARDWARE + FIT)


def test_what_an_optimizer_cannot_have_offloaded_is_refused_in_one_line(
    tmp_path: Path, runs_dir: Path
) -> None:
    text = SPEC + "optimizer: {kind: muon}\nruntime: {offload: optimizer}\n"
    line = r"yaml:\d+: runtime.offload = 'optimizer'.*set offload: none"
    with pytest.raises(InputError, match=line) as refused:
        plan(tmp_path, runs_dir, text)
    assert "\n" not in str(refused.value)
    study = plan(tmp_path, runs_dir, SPEC + HARDWARE + "optimizer: {kind: muon}\n" + FIT)
    assert {point.config.runtime.offload for point in study.points} == {"none"}


def test_a_point_that_ran_out_of_memory_goes_on_with_the_next_settings(
    tmp_path: Path, runs_dir: Path
) -> None:
    (point, _) = plan(tmp_path, runs_dir, SPEC + HARDWARE + FIT).points
    task = trial.Task(
        point_id=point.id,
        run=point.config,
        next_runtime=point.next_runtime,
        run_dir=tmp_path / "run",
        data=PathConfig(path="text"),
        eval_sets={},
        resources=Resources(),
        max_total_flops=1.0,
        stop_file=tmp_path / "stop",
    )
    failures.record_exception(task.run_dir, 1, 0, "OSError: no", OSError("no"))
    assert trial._run_of(task, 2, 0) == task.run
    cause = "out of memory: CUDA out of memory"
    failures.record_exception(task.run_dir, 2, 0, cause, MemoryError())
    assert trial._run_of(task, 2, 0) == task.run  # The attempt itself has not failed yet.
    assert trial._run_of(task, 3, 1).runtime == point.next_runtime
    assert not (task.run_dir / trial.NEXT_RUNTIME_FILE).exists()  # The first worker writes.
    assert trial._run_of(task, 3, 0).runtime == point.next_runtime
    record = json.loads((task.run_dir / trial.NEXT_RUNTIME_FILE).read_text())
    assert record["cause"] == cause
    assert RuntimeConfig.model_validate(record["runtime"]) == point.next_runtime
    unchosen = task.model_copy(update={"next_runtime": None})
    assert trial._run_of(unchosen, 3, 0) == task.run
    assert replace(point, next_runtime=None).fingerprint == point.fingerprint
