"""Hours on this CPU: a calibration that trains, kept, and told apart by what it rests on."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from kernels.machine import cpu_name
from study.display.plan_json import plan_as_json
from study.ledger.reader import Record
from study.plan import cpu_speed, planner
from study.plan.planner import Study
from study.progress import estimate
from study.spec.study_file import Resources
from tests.study.launching import ROOT
from workloads.config.model import ModelConfig
from workloads.cost import flops
from workloads.data import shards
from workloads.data.config import DataConfig
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Recipe
from workloads.training.trainer import train

RATES = {"pico": 2e10, "nano": 4e10, "micro": 5e10, "mini": 6e10}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of stored rates, in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(ROOT)
    path = tmp_path / "cache" / "structured-scaling" / cpu_speed.FILE
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed of this CPU is known."""
    monkeypatch.setattr(cpu_speed, "_measure_in_a_process", lambda: RATES)


def nine_points(tmp_path: Path) -> Study:
    path = tmp_path / "nine.yaml"
    path.write_text("""\
study: nine
max_total_flops: 4.0e13
grid:
  preset: [nano, micro, mini]
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.625}, {kind: lowrank, fraction: 0.3125}]
resources: {num_workers: 0, cpus_per_worker: 1}
""")
    return planner.load(path, tmp_path)


@pytest.mark.slow
def test_calibration_is_the_speed_of_training_and_is_kept(
    cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rates = cpu_speed.cpu_rates()
    assert "measuring the speed of this CPU" in capfd.readouterr().err
    assert rates.keys() == {"pico", "nano", "micro", "mini"}
    # A real run, in seconds of the processor, which others may use at the same time.
    torch.set_num_threads(1)
    recipe = {"preset": "nano", "budget": {"steps": 40}, "eval_tokens": 128}
    config = Recipe.model_validate(recipe).resolve()
    dataset = shards.prepare(DataConfig(), tmp_path / "data")
    start = time.process_time()
    train(config, dataset, tmp_path / "run")
    rate = flops.train_flops(config) / (time.process_time() - start)
    assert 0.5 < rates["nano"] / rate < 2
    start = time.perf_counter()
    assert cpu_speed.cpu_rates() == rates
    assert time.perf_counter() - start < 0.1 and not capfd.readouterr().err


@pytest.mark.usefixtures("measured")
def test_another_torch_or_other_kernels_are_measured_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_speed.cpu_rates()
    monkeypatch.setattr(cpu_speed, "_measure_in_a_process", lambda: {"pico": 1e9})
    assert cpu_speed.cpu_rates() == RATES
    monkeypatch.setattr(cpu_speed, "source_hash", lambda: "other")
    assert cpu_speed.cpu_rates() == {"pico": 1e9}
    assert len(json.loads(cache.read_text())) == 2


def test_damaged_store_is_measured_anew(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("[1, 2")
    # Without a Python that has torch nothing can be measured, and nothing is stored.
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert cpu_speed.cpu_rates() == {}
    study = nine_points(tmp_path)
    seconds, basis = estimate.point_seconds(study.points, {}, Resources(num_workers=0))
    assert seconds == {} and "nothing" in basis
    missing = {point.id: "missing" for point in study.points}
    found = plan_as_json(study, missing, {}, seconds, basis)
    assert found["totals"]["hours"]["cpu"] is None
    assert {point["estimated_seconds"] for point in found["points"]} == {None}


@pytest.mark.usefixtures("measured")
def test_points_take_the_rate_of_the_nearest_sizes(tmp_path: Path) -> None:
    study = nine_points(tmp_path)
    seconds, basis = estimate.point_seconds(study.points, {}, Resources(num_workers=0))
    smaller = {"nano": "pico", "micro": "nano", "mini": "micro"}
    for point in study.points:
        run = point.config
        evaluated = -(-run.total_steps // 100) * 65_536 / 3  # a third of training on as many tokens
        rate = point.train_flops * (1 + evaluated / run.tokens) / seconds[point.id]
        own = RATES[point.variant.preset]
        if run.model.ffn.is_dense:
            assert rate == pytest.approx(own)
        else:  # it has fewer FLOPs a layer, on which its layers spend more time each
            assert RATES[smaller[point.variant.preset]] < rate < own
    assert "calibration of this CPU" in basis and "20 to 60 GFLOP/s" in basis
    processors = os.cpu_count() or 1
    for workers in (processors, 100 * processors):  # more threads than processors add nothing
        faster, _ = estimate.point_seconds(study.points, {}, Resources(num_workers=workers))
        assert all(faster[i] == pytest.approx(seconds[i] / processors) for i in seconds)


def test_a_layer_takes_a_fixed_time_and_one_in_proportion_to_its_work() -> None:
    pico, nano = (PRESETS[name].model for name in ("pico", "nano"))

    def true_seconds(model: ModelConfig) -> float:
        """Of a token: a microsecond a layer, the head counted as one, and 50 GFLOP/s beyond."""
        scores = cpu_speed.SCORE_FLOPS * model.num_heads * model.block_size * model.num_layers
        work = flops.train_flops_per_token(model) + scores
        return 1e-6 * (model.num_layers + 1) + work / 5e10

    def changed(**changes: int) -> ModelConfig:
        return ModelConfig.model_validate(pico.model_dump(exclude_unset=True) | changes)

    rates = {
        name: flops.train_flops_per_token(model) / true_seconds(model)
        for name, model in (("pico", pico), ("nano", nano))
    }
    for model in (
        changed(hidden_dim=48, num_heads=3),
        changed(hidden_dim=8),
        changed(num_layers=9),
    ):
        found = flops.train_flops_per_token(model) / cpu_speed.rate_for(model, rates)
        assert found == pytest.approx(true_seconds(model))
    # More heads are slower at the same FLOPs.
    more = cpu_speed.rate_for(changed(num_heads=4), rates)
    assert more < cpu_speed.rate_for(pico, rates) == pytest.approx(rates["pico"])
    # Where the smaller preset is the faster one, nothing is faster than it.
    assert cpu_speed.rate_for(changed(hidden_dim=8), {"pico": 2e10, "nano": 1e10}) <= 2e10
    assert cpu_speed.rate_for(PRESETS["transformer-xl"].model, RATES) == RATES["mini"]


@pytest.mark.usefixtures("measured")
def test_each_phase_of_a_grown_run_takes_the_rate_of_its_model(tmp_path: Path) -> None:
    path = tmp_path / "grown.yaml"
    path.write_text("""\
study: grown
max_total_flops: 4.0e13
grid:
  preset: [pico]
  model: {num_layers: 8}
  ffn: [{kind: dense}]
  grow: [null, {operator: split, base: {factor: 2}, at: {fraction: 0.5}}]
budget: {steps: 1000}
eval_tokens: 32_768
runtime: {eval_interval: 300}
resources: {num_workers: 0}
""")
    scratch, grown = planner.load(path, tmp_path).points
    seconds, _ = estimate.point_seconds([scratch, grown], {}, Resources(num_workers=0))
    base = grown.config.phases[0].model
    small = base.model_copy(update={"growth": None})
    of_base = flops.train_flops_per_token(small) / cpu_speed.rate_for(small, RATES)
    # Evaluations after 300 steps of 1000 are the base's; after 600, 900 and 1000 the grown model's.
    tokens = 500 * grown.config.tokens_per_step + 32_768 / 3
    whole = 1000 * scratch.config.tokens_per_step + 4 * 32_768 / 3
    last = 500 * grown.config.tokens_per_step + 3 * 32_768 / 3
    assert seconds[grown.id] == pytest.approx(tokens * of_base + last / whole * seconds[scratch.id])


def test_finished_runs_come_before_any_calibration(cache: Path, tmp_path: Path) -> None:
    study = nine_points(tmp_path)
    done = study.points[0]
    record = Record(
        "run",
        {"status": "finished", "hardware": cpu_name()},
        {"train_seconds": done.train_flops / 1e9},
    )
    seconds, basis = estimate.point_seconds(study.points, {done.id: record}, Resources())
    assert seconds[done.id] == pytest.approx(done.train_flops / 1e9)
    assert "finished runs" in basis and not cache.exists()


def test_a_launch_takes_its_slots_the_longest_point_first(cache: Path, tmp_path: Path) -> None:
    study = nine_points(tmp_path)
    resources = Resources(num_workers=0, cpus_per_worker=os.cpu_count() or 1)
    seconds = {point.id: float(number) for number, point in enumerate(study.points, start=1)}
    launch, each = estimate.LAUNCH_SECONDS, estimate.POINT_SECONDS
    assert estimate.slots(resources) == 1
    found = estimate.wall_seconds(study.points, {}, seconds, resources)
    assert found == pytest.approx(launch + 9 * each + 45)
    ended, half = study.points[8], study.points[7]
    records = {
        ended.id: Record("", {"status": "finished"}),
        half.id: Record("", {"status": "interrupted"}, {"train_flops": half.train_flops / 2}),
    }
    found = estimate.wall_seconds(study.points, records, seconds, resources)
    assert found == pytest.approx(launch + 8 * each + 45 - 9 - 4)
    several = Resources(num_workers=0)
    if estimate.slots(several) == 2:
        found = estimate.wall_seconds(study.points, {}, seconds, several)
        assert found == pytest.approx(launch + 5 * each + 23, abs=1.01)
    assert estimate.wall_seconds([], {}, {}, several) == 0


def test_other_work_makes_a_launch_longer() -> None:
    processors = os.cpu_count() or 1
    whole = Resources(num_workers=0, cpus_per_worker=processors)
    assert estimate.crowding(0.0, whole) == 1
    assert estimate.crowding(float(processors), whole) == 2
