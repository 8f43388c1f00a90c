"""Budgets of a study: what is planned, at each FLOPs of isoflop or of a dense twin, is spent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from study.plan import planner
from study.plan.cost import flops_per_second
from study.plan.planner import Study
from study.spec.hardware import HardwareSpec
from workloads.config.run import RunConfig
from workloads.cost.flops import train_flops_at
from workloads.data import shards
from workloads.data.config import DataConfig
from workloads.errors import InputError
from workloads.run_dir.metrics_log import read_rows
from workloads.training.trainer import train

GRID = """\
study: example
max_total_flops: 1.0e16
grid:
  preset: [pico, nano, micro]
  ffn:
    - {kind: dense}
    - {kind: lowrank, fraction: 0.3125}
    - {kind: blockdense, nblocks: 2, fraction: 0.625}
    - {kind: blockshuffle, nblocks: 4}
"""
GUIDES = "  guide: [null, {match_flops_of: dense}, {ratio: 0.3}, {ratio: 0.5, mode: fixed_steps}]\n"


def planned(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return planner.load(path, tmp_path)


def error(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputError) as raised:
        planned(tmp_path, text)
    return str(raised.value).removeprefix(str(tmp_path / "study.yaml"))


def flops_by_hand(run: RunConfig) -> float:
    """Training FLOPs from the shapes: 2 a multiply-add, forward once and backward twice."""
    model, width, inner = run.model, run.model.hidden_dim, run.model.ffn_dim
    blocks, rank = model.ffn.nblocks or 1, model.ffn.rank or 0
    structured = {
        "dense": 2 * width * inner,
        "lowrank": 2 * rank * (width + inner),
        "blockdense": rank * (width // blocks + inner) + rank * (inner // blocks + width),
        "blockshuffle": 2 * (width * width // blocks + width * inner // blocks),
    }[model.ffn.kind]
    dense, layers = 2 * width * inner, model.num_layers
    attention = 4 * width * width + 2 * model.block_size * width
    ffns = dense + (layers - 1) * structured
    per_token = 6 * (layers * attention + ffns + model.vocab_size * width)
    fresh = run.steps * run.batch_size * model.block_size
    if model.guide is None:
        return fresh * per_token
    guided = int(model.guide.ratio * run.steps) * run.batch_size * model.block_size
    repeated = guided * per_token if model.guide.mode == "fixed_flops" else 0
    return fresh * per_token + repeated + guided * 6 * (layers - 1) * dense / 2


def test_isoflop_spends_each_budget_to_a_percent_by_every_model(tmp_path: Path) -> None:
    budgets = [1.0e12, 3.0e12, 1.0e13]
    study = planned(tmp_path, GRID + GUIDES + "budget: {isoflop: [1.0e+12, 3.0e+12, 1.0e+13]}\n")
    # Three sizes: dense once, three kinds with four guides each.
    assert len(study.points) == 3 * (1 + 3 * 4) * len(budgets)
    assert len({point.id for point in study.points}) == len(study.points)
    for point in study.points:
        nearest = min(budgets, key=lambda budget: abs(point.train_flops / budget - 1))
        assert abs(point.train_flops / nearest - 1) <= 0.01, point.id
        assert f"-iso{nearest:g}-".replace("e+", "e") in point.id
        assert point.target_flops == nearest
        assert point.train_flops == flops_by_hand(point.config)
        assert point.train_flops == train_flops_at(point.config, point.config.total_steps)
    targets = [
        (point.train_flops, point.target_flops) for point in study.points if point.target_flops
    ]
    assert study.largest_flops_error == max(abs(spent / flops - 1) for spent, flops in targets)


def test_isoflop_drops_with_the_reason_what_whole_steps_cannot_spend(tmp_path: Path) -> None:
    study = planned(tmp_path, GRID + "budget: {isoflop: [1.0e+9, 3.0e+10]}\n")
    assert len(study.points) + len(study.dropped) == 3 * 4 * 2
    for point in study.points:
        assert abs(point.train_flops / 3.0e10 - 1) <= 0.01
    reasons = {item.point: item.reason for item in study.dropped}
    assert reasons["micro dense at 1e+09 FLOPs seed0"] == (
        "1e+09 FLOPs pay for less than one step; raise them"
    )
    # One step of the dense micro is 6.95e9 FLOPs: four of them are 7% off, and 50 always do.
    assert reasons["micro dense at 3e+10 FLOPs seed0"] == (
        "whole steps of up to 6.95e+09 FLOPs come within 7.4% of 3e+10 FLOPs and not 1%; from "
        "3.5e+11 FLOPs on they do"
    )


def test_a_row_takes_the_budgets_of_isoflop_too(tmp_path: Path) -> None:
    text = "study: a\nmax_total_flops: 1.0e13\npoints: [{preset: nano}]\n"
    study = planned(tmp_path, text + "budget: {isoflop: [1.0e+12, 2.0e+12]}\n")
    assert [point.id for point in study.points] == [
        "nano-dense-iso1e12-seed0",
        "nano-dense-iso2e12-seed0",
    ]


@pytest.mark.parametrize("unit", ["tokens: 500_000", "tokens_per_param: 5", "steps: 200"])
def test_a_structured_point_spends_what_its_dense_twin_does(tmp_path: Path, unit: str) -> None:
    budget = f"budget: {{match_flops_of: dense, {unit}}}\n"
    study = planned(tmp_path, GRID + GUIDES + budget)
    alone = planned(tmp_path, GRID + f"budget: {{{unit}}}\n")
    dense = {p.variant.preset: p for p in alone.points if p.variant.ffn.kind == "dense"}
    assert len(study.points) == 3 * (1 + 3 * 4)
    for point in study.points:
        twin = dense[point.variant.preset]
        assert point.train_flops == pytest.approx(twin.train_flops, rel=0.01), point.id
        assert point.target_flops == (
            None if point.variant.ffn.kind == "dense" else twin.train_flops
        )
        assert point.train_flops == flops_by_hand(point.config)
        if point.variant.guide and point.variant.guide.match_flops_of:
            assert point.config.tokens == twin.config.tokens
        elif point.variant.ffn.kind != "dense":
            assert point.config.total_steps > twin.config.total_steps or point.variant.guide
        else:
            assert (point.id, point.fingerprint) == (twin.id, twin.fingerprint)


def test_a_twin_has_the_width_and_the_model_of_its_point(tmp_path: Path) -> None:
    text = """\
study: a
max_total_flops: 1.0e14
points:
  - &row {preset: mini, width: 1.5, model: {num_layers: 3, activation: swiglu}}
  - {<<: *row, ffn: {kind: lowrank, rank: 32}, budget: {match_flops_of: dense}}
  - {<<: *row, ffn: {kind: lowrank, rank: 32}, guide: {match_flops_of: dense}}
"""
    dense, longer, guided = planned(tmp_path, text).points
    assert longer.train_flops == pytest.approx(dense.train_flops, rel=0.01)
    assert guided.train_flops == pytest.approx(dense.train_flops, rel=0.01)
    assert longer.config.tokens > guided.config.tokens == dense.config.tokens


def test_a_match_that_is_impossible_is_dropped_from_a_grid_and_an_error_in_a_row(
    tmp_path: Path,
) -> None:
    ffn = "{kind: lowrank, rank: 32}"  # more weights than the dense FFN: nothing is left to guide
    head = "study: a\nmax_total_flops: 1.0e14\n"
    study = planned(
        tmp_path,
        head + f"grid: {{preset: [pico], ffn: [{ffn}], guide: [null, {{match_flops_of: dense}}]}}",
    )
    assert [point.variant.guide for point in study.points] == [None]
    assert [item.point for item in study.dropped] == [
        "pico lowrank r32 guided to dense FLOPs seed0"
    ]
    assert "no guide ratio spends" in study.dropped[0].reason
    row = f"points: [{{preset: pico, ffn: {ffn}, guide: {{match_flops_of: dense}}}}]"
    message = error(tmp_path, head + row)
    assert message.startswith(":3: points[0]: with preset pico: no guide ratio spends")
    assert message.endswith("use another size of the FFN, or another mode")


def test_wall_seconds_are_those_of_the_stated_hardware(tmp_path: Path) -> None:
    hardware = "hardware: {accelerator: h100, gpus: 8, mfu: {dense: 0.4, lowrank: 0.2}}\n"
    head = "study: a\nmax_total_flops: 1.0e22\n"
    grid = "grid: {preset: [transformer-s], ffn: [{}, {kind: lowrank, fraction: 0.3125}]}\n"
    study = planned(tmp_path, head + grid + hardware + "budget: {wall_seconds: 3600}\n")
    stated = HardwareSpec.model_validate(
        {"accelerator": "h100", "gpus": 8, "mfu": {"dense": 0.4, "lowrank": 0.2}}
    )
    for point in study.points:
        rate = flops_per_second(stated, point.variant.ffn.kind, 8)
        step = train_flops_at(point.config, 1)
        assert 0 <= 3600 * rate - point.train_flops < step
    dense, lowrank = study.points
    assert dense.train_flops == pytest.approx(2 * lowrank.train_flops, rel=1e-3)

    matched = planned(
        tmp_path, head + grid + hardware + "budget: {wall_seconds: 3600, match_flops_of: dense}\n"
    )
    assert matched.points[1].train_flops == pytest.approx(dense.train_flops, rel=1e-3)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("{isoflop: []}", "budget.isoflop: "),
        ("{isoflop: [1.0e+12, 1.0e+12]}", "isoflop lists the same FLOPs twice"),
        ("{isoflop: [1.0e+12], steps: 3}", "exactly one of"),
        ("{match_flops_of: dense, steps: 3, tokens: 9}", "exactly one of"),
        ("{match_flops_of: lowrank}", "(of dense, scratch)"),
        ("{isoflop: [1.0]}", "no point is left: pico dense at 1 FLOPs seed0: 1 FLOPs pay for less"),
    ],
)
def test_a_wrong_budget_is_one_line(tmp_path: Path, budget: str, message: str) -> None:
    assert message in error(tmp_path, f"{GRID}budget: {budget}\n")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The models here are too small for threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_executed_flops_are_the_planned_ones(tmp_path: Path, runs_dir: Path) -> None:
    text = """\
study: a
max_total_flops: 1.0e12
grid:
  preset: [pico]
  ffn: [{kind: lowrank, fraction: 0.3125}]
  guide: [null, {match_flops_of: dense}]
budget: {isoflop: [3.0e+10]}
eval_tokens: 1280
"""
    study = planned(tmp_path, text)
    assert len(study.points) == 2
    dataset = shards.prepare(DataConfig(), runs_dir / "data")
    for point in study.points:
        run_dir = study.run_dir(point)
        run_dir.mkdir(parents=True)
        result = train(point.config, dataset, run_dir)
        rows, _ = read_rows(run_dir / "metrics.jsonl")
        assert result.train_flops == rows[-1]["train_flops"] == point.train_flops
        assert rows[-1]["tokens"] == point.config.tokens
        assert point.train_flops == pytest.approx(3.0e10, rel=0.01)
