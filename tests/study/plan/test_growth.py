"""Growth in a study: points of the grid, their names and columns, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import in_process
from workloads.cost.flops import train_flops
from workloads.errors import InputError

HEAD = "study: grown\nmax_total_flops: 1.0e16\n"
GRID = """grid:
  preset: [pico, nano]
  model: {num_layers: 8}
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.3125}]
  grow:
    - null
    - {operator: stack, base: {factor: 2}, at: {fraction: 0.2}}
    - {operator: stack, base: {factor: 4}, at: {fraction: 0.2}}
    - [{operator: split, base: {factor: 2}, at: {fraction: 0.5}, optimizer_state: carry}]
  seed: [0, 1]
"""
STEPS = "budget: {steps: 100}\n"


def planned(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + text)
    return planner.load(path, tmp_path)


def test_the_grid_crosses_growth_with_the_rest(tmp_path: Path) -> None:
    study = planned(tmp_path, f"{GRID}exclude: [{{ffn: {{kind: lowrank}}, grow: {{factor: 4}}}}]\n")
    assert len(study.points) == 2 * (4 + 3) * 2 == len({point.id for point in study.points})
    ids = [point.id for point in study.points if point.id.startswith("nano-l8-dense-")]
    parts = ["", "stackx2at0.2-", "stackx4at0.2-", "splitx2at0.5carry-"]
    assert [i[len("nano-l8-dense-") :].rpartition("c")[0] for i in ids[::2]] == parts
    arms = {point.variant.arm_name() for point in study.points}
    assert len(arms) == 7  # sizes and seeds share one
    assert {"dense", "dense, stack x2 at 0.2", "lowrank 31.25%, split x2 at 0.5 carry"} < arms
    assert [item.reason for item in study.dropped] == ["exclude[0] matches it"] * 4
    assert "lowrank 31.25%, stack x4 at 0.2 seed1" in study.dropped[1].point


def test_columns_say_how_a_point_grows_and_what_its_base_costs(tmp_path: Path) -> None:
    study = planned(tmp_path, GRID + STEPS)
    for point in study.points:
        row, phases = point.summary(), point.config.phases
        if point.variant.grow:
            assert row["growth"] == row["arm"].split(", ")[1]
            base = phases[0]
            alone = point.config.model_copy(update={"model": base.model, "steps": base.steps})
            assert row["base_train_flops"] == train_flops(alone) < row["train_flops"] / 3
            assert row["growth_factor"] == (4 if "x4" in row["growth"] else 2)
        else:
            columns = ("growth", "growth_factor", "base_train_flops")
            assert [row[name] for name in columns] == [None] * 3
    shown = in_process("plan", study.spec.path, "--json", "--runs", tmp_path)
    point = json.loads(shown.stdout)["points"][4]
    assert (point["growth"], point["growth_factor"]) == ("stack x4 at 0.2", 4)


def test_every_grown_point_spends_what_its_scratch_twin_does(tmp_path: Path) -> None:
    study = planned(tmp_path, f"{GRID}budget: {{match_flops_of: scratch, steps: 300}}\n")
    spent: dict[tuple[str, str], list[int]] = {}
    for point in study.points:
        cell = (point.variant.preset, point.config.model.ffn.kind)
        spent.setdefault(cell, []).append(point.train_flops)
        assert point.variant.grow or point.config.steps == 300
    assert len(spent) == 4
    assert all(max(found) / min(found) < 1.02 for found in spent.values())


def test_a_run_is_guided_or_grows(tmp_path: Path) -> None:
    study = planned(tmp_path, GRID.replace("  seed", "  guide: [null, {ratio: 0.5}]\n  seed"))
    assert len(study.points) == 32 + 4
    assert sum("guided or grows" in item.reason for item in study.dropped) == 2 * 3 * 2


@pytest.mark.parametrize(
    ("grow", "expected"),
    [
        ("factor: 2, at: {tokens: 100_000_000}", r":10: grid.grow\[1\].at: with preset pico: .*99"),
        ("factor: 2, at: {tokens: 100}", r":10: grid.grow\[1\].at.tokens = 100: .* is 2048"),
        ("factor: 2, at: {fraction: 0.5}, key: 1", r":10: grid.grow\[1\].key = 1: no such key"),
        ("factor: 2, at: {fractoin: 0.5}", r":10: grid.grow\[1\].at.fractoin = 0.5: .*is fraction"),
        (
            "layer_map: [0, 1, 4], at: {fraction: 0.5}",
            r":10: grid.grow\[1\].layer_map: .*names layer 4, .* the nearest is 1",
        ),
        ("layers: 2, at: {fraction: 0.5}", r":10: grid.grow\[1\].layers = 2: .*not more .* is 3"),
        ("width: 48, at: {fraction: 0.5}", r":10: grid.grow\[1\].width = 48: .*does not apply"),
        (
            "base: {factor: 3}, at: {fraction: 0.5}",
            r":10: grid.grow\[1\].base.factor = 3: .*does not divide .* 2 layers; .* is 2",
        ),
        ("base: {layers: 2}, at: {fraction: 0.5}", r":10: grid.grow\[1\].base.layers = 2: .* is 1"),
        (
            "base: {width: 16}, at: {fraction: 0.5}",
            r":10: grid.grow\[1\].base.width = 16: .*does not apply .* use split",
        ),
        ("layer_map: [], at: {fraction: 0.5}", r"layer_map \[\] has 0 layers, .* grows it is 3"),
        (
            "factor: 2, at: {guideline: false}",
            r":10: grid.grow\[1\].at.guideline = false: not a known value; write true",
        ),
        ("base: {}, at: {fraction: 0.5}", r":10: grid.grow\[1\].base.*factor, layers or width"),
        ("operatr: 1, at: {fraction: 0.5}", r":10: grid.grow\[1\].operatr = 1: .*is operator"),
    ],
)
def test_what_does_not_fit_is_named_at_its_place(tmp_path: Path, grow: str, expected: str) -> None:
    grid = f"""grid:
  preset: [pico]
  ffn:
    - {{kind: dense}}
  seed: [0]
  grow:
    - null
    - {{operator: stack, {grow}}}
"""
    with pytest.raises(InputError, match=expected) as caught:
        planned(tmp_path, grid + STEPS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("width: 63, at: {fraction: 0.7}", r":5: points\[0\].grow\[1\].width = 63: .* is 64"),
        ("width: 64, at: {fraction: 0.1}", r":5: points\[0\].grow\[0\].at: .*first 9 of them"),
        ("base: {factor: 2}, at: {fraction: 0.7}", r":5: points\[0\].grow\[1\].base: .*some"),
    ],
)
def test_growths_in_a_row_are_named_by_number(tmp_path: Path, second: str, expected: str) -> None:
    first = "{operator: stack, factor: 2, at: {fraction: 0.3}}"
    row = f"points:\n  - preset: pico\n    grow: [{first}, {{operator: split, {second}}}]\n"
    with pytest.raises(InputError, match=expected):
        planned(tmp_path, row + STEPS)


def test_an_exclude_row_names_the_nearest_growth(tmp_path: Path) -> None:
    for row, expected in (
        ("{grow: {operator: zero}}", r"exclude\[0\].grow.operator = 'zero': .*stack, split"),
        ("{grow: {factor: 3}}", r"exclude\[0\].grow.factor = 3: .*nearest value is 2"),
        ("{grow: {at: {fraction: 0.3}}}", r"exclude\[0\].grow.at: excludes nothing"),
        ("{grow: {operator: stak}}", r"exclude\[0\].grow.operator = 'stak': .*nearest is stack"),
    ):
        with pytest.raises(InputError, match=expected):
            planned(tmp_path, f"{GRID}exclude: [{row}]\n")
    study = planned(tmp_path, f"{GRID}exclude: [{{grow: null}}, {{grow: {{operator: stack}}}}]\n")
    assert {point.variant.grow[0].operator for point in study.points} == {"split"}


def test_each_phase_has_its_own_memory_hours_and_money(tmp_path: Path) -> None:
    stated = "hardware: {accelerator: h100, price_per_gpu_hour: 2}\n"
    grow = "\n".join(line for line in GRID.splitlines() if "seed" not in line)
    study = planned(tmp_path, f"{grow}\nbudget: {{steps: 100_000}}\n{stated}")
    found = in_process("plan", study.spec.path, "--json", "--runs", tmp_path)
    for point, shown in zip(study.points, json.loads(found.stdout)["points"], strict=True):
        phases = shown["phases"]
        assert [each["params"] for each in phases][-1] == shown["params"]
        sums = {
            name: sum(each[name] for each in phases)
            for name in ("train_flops", "steps", "hours", "cost")
        }
        assert sums["train_flops"] == shown["train_flops"] and sums["steps"] == shown["steps"]
        assert sums["cost"] == pytest.approx(shown["cost"])
        assert sums["hours"] == pytest.approx(shown["hours"]["h100"])
        memory = [each["peak_memory_bytes"] for each in phases]
        assert max(memory) == memory[-1] == shown["peak_memory_bytes"]
        assert len(phases) == 1 + len(point.variant.grow)
        if point.variant.grow:
            assert phases[0]["train_flops"] == shown["base_train_flops"]
            assert memory[0] < memory[-1] and phases[0]["params"] < phases[1]["params"]
    lines = in_process("plan", study.spec.path, "--runs", tmp_path).stdout.splitlines()
    start = lines.index("Phases of each arm that grows, of its point with the most FLOPs:")
    table = lines[start + 1 : start + 2 + 2 * 6]
    assert table[0].split()[:3] == ["point", "layers", "width"] and table[0].split()[-1] == "cost"
    # The arms: three ways to grow of two kinds; of each the larger size, base and grown model.
    assert [line.split()[0].startswith("nano-") for line in table[1:]] == [True, False] * 6
    assert [line.split()[0] for line in table[2::2]] == ["8"] * 6
