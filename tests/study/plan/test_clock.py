"""Budgets in seconds in a study: what is planned, what is recorded, and what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.ledger import reader
from study.plan import cpu_speed, planner
from study.plan.planner import Study
from study.progress import estimate
from study.search.samples import with_recorded
from study.transfer import report
from tests.study.launching import in_process
from tests.study.recording import record
from workloads.cost.flops import train_flops_at
from workloads.errors import InputError

RATES = {"pico": 2e10, "nano": 4e10, "micro": 5e10, "mini": 6e10}
SPEC = """\
study: timed
max_total_flops: 1.0e22
grid:
  preset: [pico, micro]
  ffn: [{{kind: dense}}, {{kind: lowrank, fraction: 0.3125}}]
budget: {{{budget}}}
resources: {{num_workers: 0, cpus_per_worker: 1}}
"""


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed of this CPU is known."""
    monkeypatch.setattr(cpu_speed, "cpu_rates", lambda: RATES)


def planned(tmp_path: Path, budget: str = "wall_seconds: 60", more: str = "") -> Study:
    path = tmp_path / "timed.yaml"
    path.write_text(SPEC.format(budget=budget) + more)
    return planner.load(path, tmp_path)


def test_a_point_has_its_seconds_in_its_id_and_the_steps_that_this_cpu_takes(
    tmp_path: Path,
) -> None:
    study = planned(tmp_path)
    assert [point.id for point in study.points] == [
        "pico-dense-60s-seed0",
        "pico-lowrank-r8-60s-seed0",
        "micro-dense-60s-seed0",
        "micro-lowrank-r24-60s-seed0",
    ]
    for point in study.points:
        rate = cpu_speed.rate_for(point.config.model, RATES)
        step = train_flops_at(point.config, 1)
        assert 0 <= 60 * rate - point.train_flops < step
        assert point.summary()["wall_seconds"] == 60
    everything = planned(tmp_path, "wall_seconds: 0.5, clock: everything")
    assert everything.points[0].id == "pico-dense-0.5s-everything-seed0"


def test_another_machine_plans_the_same_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = planned(tmp_path)
    faster = {name: 3 * rate for name, rate in RATES.items()}
    monkeypatch.setattr(cpu_speed, "cpu_rates", lambda: faster)
    other = planned(tmp_path)
    assert [p.fingerprint for p in other.points] == [p.fingerprint for p in study.points]
    assert all(
        b.config.steps > 2 * a.config.steps for a, b in zip(study.points, other.points, strict=True)
    )
    monkeypatch.setattr(cpu_speed, "cpu_rates", dict)
    assert [p.fingerprint for p in planned(tmp_path).points] == [
        p.fingerprint for p in other.points
    ]


def test_gpus_take_the_steps_of_the_stated_mfu_and_the_hours_of_the_clock(tmp_path: Path) -> None:
    hardware = "hardware: {accelerator: a100-80g, gpus: 2, mfu: 0.4, price_per_gpu_hour: 2}\n"
    study = planned(tmp_path, "wall_seconds: 3600, clock: training", hardware)
    point = study.points[0]
    assert point.train_flops == pytest.approx(3600 * 2 * 0.4 * 312e12, rel=1e-3)
    price = study.price(point)
    # On any GPU they are two, for an hour.
    assert set(price.hours.values()) == {2.0} and price.cost == 4.0


def test_seconds_on_stated_hardware_without_a_clock_are_planned_steps(tmp_path: Path) -> None:
    """As in every study that was recorded before there was a clock."""
    hardware = "hardware: {accelerator: a100-80g, mfu: 0.4}\n"
    study = planned(tmp_path, "wall_seconds: 0.01", hardware)
    point = study.points[0]
    assert point.config.clock is None and point.id == "pico-dense-c1.25e12-seed0"
    assert (
        point.fingerprint == planned(tmp_path, f"steps: {point.config.steps}").points[0].fingerprint
    )


def test_the_plan_says_what_is_expected_and_that_digits_do_not_repeat(tmp_path: Path) -> None:
    planned(tmp_path)
    done = in_process("plan", tmp_path / "timed.yaml", "--runs", tmp_path)
    assert "A clock ends 4 of the points: their tokens and FLOPs (~) are expected" in done.stdout
    assert "~" in next(line for line in done.stdout.splitlines() if "pico-dense-60s" in line)
    done = in_process("plan", tmp_path / "timed.yaml", "--runs", tmp_path, "--json")
    points = json.loads(done.stdout)["points"]
    assert all(point["length_is_expected"] for point in points)
    # A minute, and evaluations beside it.
    assert all(60 < point["estimated_seconds"] < 90 for point in points)


def test_what_a_run_took_is_recorded_and_read_in_place_of_what_was_expected(
    tmp_path: Path,
) -> None:
    study = planned(tmp_path)
    ended = [point.lasted(101 + i) for i, point in enumerate(study.points)]
    record(study, ended)
    records = reader.read(reader.tracking_uri(tmp_path), "timed", with_params=True)
    known = with_recorded(study, records)
    assert [p.config.steps for p in known.points] == [101, 102, 103, 104]
    for point in ended:
        params = records[point.id].params
        wanted = point.summary()
        for name in ("tokens", "steps", "train_flops", "wall_seconds"):
            assert float(params[name]) == wanted[name]
        assert "config.steps" not in params and params["config.clock.seconds"] == "60.0"
    table = report.table(known, records).set_index("point_id")
    for point in ended:
        assert table.loc[point.id, "train_flops"] == point.train_flops
        assert table.loc[point.id, "wall_seconds"] == 60
    seconds = dict.fromkeys(records, 60.0)
    assert estimate.wall_seconds(known.points, records, seconds, study.spec.value.resources) == 0


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("wall_seconds: 60, match_flops_of: dense", "match_flops_of needs FLOPs that are known"),
        ("wall_seconds: 60, clock: all", ":6: budget.clock = 'all': not a known value"),
        ("steps: 60, clock: training", "clock says what wall_seconds counts"),
        ("wall_seconds: -1", "must be greater than 0"),
    ],
)
def test_a_wrong_clock_is_one_line(tmp_path: Path, budget: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        planned(tmp_path, budget)
    assert message in str(raised.value)


def test_a_guide_and_a_growth_need_steps(tmp_path: Path) -> None:
    for part in (
        "guide: [{ratio: 0.4}]",
        "grow: [{operator: stack, factor: 2, at: {fraction: 0.5}}]",
    ):
        text = SPEC.format(budget="wall_seconds: 60").replace("budget:", f"  {part}\nbudget:")
        (tmp_path / "timed.yaml").write_text(text)
        with pytest.raises(InputError, match="for a part of the run's steps"):
            planner.load(tmp_path / "timed.yaml", tmp_path)


def test_a_rule_that_goes_by_tokens_needs_them(tmp_path: Path) -> None:
    for rule, wrong in (("mup", False), ("step_law", True)):
        text = SPEC.format(budget="wall_seconds: 60")
        text = text.replace("budget:", f"  recipe: [{rule}]\nbudget:").replace(", micro", "")
        (tmp_path / "timed.yaml").write_text(text)
        if wrong:
            with pytest.raises(InputError, match="chooses by the tokens, and a clock leaves these"):
                planner.load(tmp_path / "timed.yaml", tmp_path)
        else:
            assert all(
                p.config.clock for p in planner.load(tmp_path / "timed.yaml", tmp_path).points
            )
