"""Prices: the paper's published hours, money, caps, and one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.plan import cost, planner
from study.plan.planner import Study
from study.spec.hardware import HardwareSpec
from tests.study.launching import ROOT, in_process, study_cli
from workloads.cost.accelerators import PAPER_MFU
from workloads.errors import InputError

PAPER = ROOT / "study" / "specs" / "paper.yaml"
# arXiv 2406.16450, table 1: hours of an A100 80 GB for transformer-xl.
PUBLISHED_HOURS = {
    "dense": 352.2,
    "lowrank 63%": 302.2,
    "blockdense 63%": 298.7,
    "blockshuffle 63%": 330.6,
    "lowrank 32%": 260.2,
    "blockdense 32%": 261.2,
    "blockshuffle 32%": 284.9,
}
XL = """\
study: xl
max_total_flops: 1.0e21
grid:
  preset: [transformer-xl]
  ffn: [{kind: dense}, {kind: lowrank, rank: 512}]
"""
# Training FLOPs of its two points (table 1).
XL_FLOPS = {"dense": 2.1025e20, "lowrank": 1.2907e20}


def load(tmp_path: Path, lines: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(XL + lines)
    return planner.load(path, tmp_path)


def test_planned_hours_are_the_published_ones(tmp_path: Path) -> None:
    study = planner.load(PAPER, tmp_path)
    hours = {
        point.variant.arm_name(): study.price(point).hours["a100-80g"]
        for point in study.points
        if point.variant.preset == "transformer-xl"
    }
    assert hours.keys() == PUBLISHED_HOURS.keys()
    for arm, published in PUBLISHED_HOURS.items():
        assert hours[arm] == pytest.approx(published, rel=0.15), arm
        assert hours[arm] == pytest.approx(published, rel=0.06), arm  # what cost.py says of itself


def test_default_utilization_is_the_geometric_mean_over_a_kinds_published_times() -> None:
    peak = 312e12  # dense bf16 FLOPs per second, NVIDIA A100 data sheet
    flops = {"dense": [2.1025e20], "lowrank": [1.6597e20, 1.2907e20]}
    flops |= {"blockdense": [1.6135e20, 1.2676e20], "blockshuffle": [1.6597e20, 1.2907e20]}
    for kind, each in flops.items():
        hours = [h for arm, h in PUBLISHED_HOURS.items() if arm.startswith(kind)]
        product = 1.0
        for one, hour in zip(each, hours, strict=True):
            product *= one / (hour * 3600 * peak)
        assert PAPER_MFU[kind] == pytest.approx(product ** (1 / len(each)), abs=1e-3)


@pytest.mark.parametrize(
    ("mfu", "dense", "lowrank"),
    [("0.4", 0.4, 0.4), ("{dense: 0.5}", 0.5, 0.465), ("{lowrank: 0.1, dense: 1}", 1.0, 0.1)],
)
def test_stated_utilization_and_price_make_hours_and_money(
    mfu: str, dense: float, lowrank: float, tmp_path: Path
) -> None:
    hardware = f"accelerator: h100, gpus: 8, price_per_gpu_hour: 2.5, mfu: {mfu}"
    study = load(tmp_path, f"hardware: {{{hardware}}}\n")
    for point, kind, used in zip(study.points, ("dense", "lowrank"), (dense, lowrank), strict=True):
        price = study.price(point)
        hours = XL_FLOPS[kind] / (989e12 * used) / 3600
        assert price.hours["h100"] == pytest.approx(hours, rel=1e-3)
        assert price.hours["a100-80g"] == pytest.approx(hours * 989 / 312, rel=1e-3)
        assert price.cost == pytest.approx(2.5 * hours, rel=1e-3)


def test_eight_gpus_are_eight_times_as_fast() -> None:
    hardware = HardwareSpec(accelerator="a100-80g")
    assert cost.flops_per_second(hardware, "dense", 8) == pytest.approx(8 * 312e12 * 0.531)


def test_plan_json_names_what_a_study_takes(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(XL + "hardware: {accelerator: h200, price_per_gpu_hour: 3, currency: CHF}\n")
    found = json.loads(in_process("plan", path, "--json", "--runs", tmp_path).stdout)
    points, totals = found["points"], found["totals"]
    for point in points:
        assert point["hours"].keys() == {"a100-80g", "h100", "h200", "cpu"}
        assert point["hours"]["cpu"] == pytest.approx(point["estimated_seconds"] / 3600)
        assert point["min_gpus"] == {"a100-80g": 1, "h100": 1, "h200": 1}
        assert 40e9 < point["peak_memory_bytes"] < 80e9
        assert point["cost"] == pytest.approx(3 * point["hours"]["h200"])
    for name in ("a100-80g", "h100", "h200", "cpu"):
        assert totals["hours"][name] == pytest.approx(sum(p["hours"][name] for p in points))
    assert totals["cost"] == pytest.approx(sum(p["cost"] for p in points))
    assert found["hardware"]["currency"] == "CHF"


def test_plan_says_in_100_columns_what_it_costs_and_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        XL + "hardware: {accelerator: h100, price_per_gpu_hour: 2}\nruntime: {micro_batch_size: 32}"
    )
    out = study_cli("plan", path, "--runs", tmp_path).stdout
    table = out.splitlines()[:3]
    assert all(len(line.rstrip()) <= 100 for line in table), table
    assert "dense 0.531, lowrank 0.465 (from the published times of arXiv 2406.16450)" in out
    cost = 2 * (XL_FLOPS["dense"] / 0.531 + XL_FLOPS["lowrank"] / 0.465) / 989e12 / 3600
    assert f"Cost: {cost:.0f} USD at 2 an hour of one h100." in out
    assert "Too large for 1 x h100: xl-dense-c2.10e20-seed0" in out


MISTAKES = {
    "accelerator": (
        "hardware: {accelerator: a100}",
        "hardware.accelerator = 'a100': no such accelerator; the nearest is a100-80g",
    ),
    "kind": ("hardware: {accelerator: h100, mfu: {lowrnk: 0.4}}", "the nearest is lowrank"),
    "share": ("hardware: {accelerator: h100, mfu: {dense: 1.2}}", "hardware.mfu.dense = 1.2"),
    "not a number": ("hardware: {accelerator: h100, mfu: true}", "hardware.mfu = true: this is a"),
    "price": ("hardware: {accelerator: h100, price_per_gpu_hour: -1}", "price_per_gpu_hour = -1"),
    "cap": (
        "hardware: {accelerator: a100-80g}\nmax_gpu_hours: 500",
        "max_gpu_hours = 500: the study needs 600 GPU-hours of a100-80g as planned; raise it",
    ),
    "cap of nothing": ("max_gpu_hours: 500", "add hardware: {accelerator: a100-80g}"),
    "two numbers of GPUs": (
        "hardware: {accelerator: h100}\nresources: {num_workers: 8, gpus_per_worker: 1}",
        "hardware.gpus 1 is not what resources give a point, 8 GPUs; change one of them",
    ),
    "type without a GPU": ("resources: {accelerator_type: H100}", "set gpus_per_worker"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_line_with_a_remedy(mistake: str, tmp_path: Path) -> None:
    lines, message = MISTAKES[mistake]
    with pytest.raises(InputError) as raised:
        load(tmp_path, lines + "\n")
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_cap_that_is_enough_is_no_mistake(tmp_path: Path) -> None:
    hardware = "hardware: {accelerator: h100}\nmax_gpu_hours: 200\n"  # of 190
    assert len(load(tmp_path, hardware).points) == 2
