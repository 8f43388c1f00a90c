"""What status says of a study: numbers against their definitions, on ledgers made up for it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from study.display.console import new_console
from study.display.plan_table import print_plan
from study.display.progress import Display
from study.display.status import print_status, repeat_status
from study.display.tables import MANY_POINTS
from study.ledger.reader import Record
from study.plan import planner
from study.plan.planner import Study
from study.progress.overview import Overview

GRID = """\
study: made-up
max_total_flops: 1.0e15
grid:
  preset: [pico, nano, micro, mini]
  ffn: [{{kind: dense}}, {{kind: lowrank, fraction: 0.3125}}]
  seed: [{seeds}]
"""
SECONDS, SPEED = 100.0, 2.0e9


def made_up(tmp_path: Path, seeds: int = 1) -> Study:
    spec = tmp_path / "study.yaml"
    spec.write_text(GRID.format(seeds=", ".join(map(str, range(seeds)))))
    return planner.load(spec, tmp_path)


def records(study: Study, share: dict[int, float]) -> dict[str, Record]:
    """A record for the points of these indices, done by so much, at SPEED; whole ones finished."""
    found = {}
    for index, done in share.items():
        point = study.points[index]
        flops = done * point.train_flops
        found[point.id] = Record(
            f"run-{index}",
            {"status": "finished" if done == 1 else "running", "point_id": point.id},
            {
                "train_flops": flops,
                "executed_flops": flops * 1.25,
                "train_seconds": flops / SPEED,
                "val_loss": 10 * point.train_flops**-0.06 * (1 + 0.01 * (-1) ** (index // 2)),
            },
        )
    return found


def look_at(study: Study, found: dict[str, Record]) -> Overview:
    """As `overview.summarize` does, with a driver that is alive."""
    states = {p.id: found[p.id].status if p.id in found else "queued" for p in study.points}
    return Overview(study, found, states)


def shown(look: Overview) -> str:
    out = io.StringIO()
    print_status(new_console(file=out, width=200), look)
    return out.getvalue()


def test_losses_on_every_text_are_shown(
    tmp_path: Path,
) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(GRID.format(seeds=0) + "eval_sets: {own: {source: python-stdlib}}\n")
    study = planner.load(spec, tmp_path)
    found = records(study, {0: 1.0})
    found[study.points[0].id].metrics["val_loss/own"] = 1.2345
    text = shown(look_at(study, found))
    assert "val_loss/own" in text and "1.2345" in text

    out = io.StringIO()
    row = {"step": 1.0, "train_flops": 1.0, "val_loss": 2.0, "val_loss/own": 1.2345}
    display = Display(new_console(file=out, width=200), study, {})
    display.progressed(study.points[0], [row | {"tokens_per_second": 1.0}])
    assert "val_loss 2.0000, own 1.2345, 1 tokens/s" in out.getvalue()


def test_what_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    study, cause = made_up(tmp_path), "KeyError: '[/x]' [red]not red :smile:"
    found = records(study, {0: 0.5})
    tags = {"status": "failed", "failure": cause}
    found[study.points[0].id].tags.update(tags)
    look = look_at(study, found)
    assert cause in shown(look)
    out, looks = (
        io.StringIO(),
        iter([look, look_at(study, records(study, dict.fromkeys(range(8), 1)))]),
    )
    repeat_status(new_console(file=out, width=300, force_terminal=True), looks.__next__, 0.01)
    assert cause in out.getvalue()


def test_spending_and_hours_are_sums_over_points(tmp_path: Path) -> None:
    study = made_up(tmp_path)
    look = look_at(study, records(study, {0: 1.0, 1: 1.0, 2: 0.5}))
    spent = sum(share * study.points[i].train_flops for i, share in {0: 1, 1: 1, 2: 0.5}.items())
    total = sum(point.train_flops for point in study.points)
    assert look.counts == {"queued": 5, "finished": 2, "running": 1}
    assert look.train_flops == pytest.approx(spent)
    assert look.executed_flops == pytest.approx(1.25 * spent)
    assert look.train_hours == pytest.approx(spent / SPEED / 3600)
    assert look.planned_hours == pytest.approx(total / SPEED / 3600)
    text = shown(look)
    assert f"{spent:.3g} of {total:.3g} FLOPs ({1.25 * spent:.3g} executed" in text
    assert "5 queued, 2 finished, 1 running" in text


def test_eta_is_the_rest_over_the_points_side_by_side(tmp_path: Path) -> None:
    study = made_up(tmp_path)
    running = look_at(study, records(study, {0: 1.0, 1: 0.5, 2: 0.25}))
    total = sum(point.train_flops for point in study.points)
    left = (total - running.train_flops) / SPEED
    assert running.eta_seconds == pytest.approx(left / 2)
    # The longest point alone cannot be shared: it takes its own rest.
    alone = dict.fromkeys(range(len(study.points)), 1.0)
    last = look_at(study, records(study, alone | {0: 0.75, 6: 0.5}))
    assert last.eta_seconds == pytest.approx(0.5 * study.points[6].train_flops / SPEED)
    assert look_at(study, {}).eta_seconds is None
    assert look_at(study, records(study, {0: 1.0})).eta_seconds is None


def test_interim_fit_is_least_squares_with_students_interval(tmp_path: Path) -> None:
    study = made_up(tmp_path)
    dense = [i for i, p in enumerate(study.points) if p.config.model.ffn.kind == "dense"]
    found = records(study, dict.fromkeys(dense, 1.0))
    [fit] = look_at(study, found).fits()
    x = np.log([study.points[i].train_flops for i in dense])
    y = np.log([found[study.points[i].id].metrics["val_loss"] for i in dense])
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    half = stats.t.ppf(0.975, len(dense) - 2) * np.sqrt(covariance[0, 0])
    assert (fit.arm, fit.runs, fit.level) == ("dense", 4, 0.95)
    assert fit.b == pytest.approx(-slope)
    assert (fit.low, fit.high) == pytest.approx((-slope - half, -slope + half))
    assert "dense: loss falls as C^-0.0" in shown(look_at(study, found))
    two = records(study, dict.fromkeys(dense[:2], 1.0))
    assert look_at(study, two).fits() == []


def test_large_study_lists_what_wants_attention(tmp_path: Path) -> None:
    study = made_up(tmp_path, seeds=MANY_POINTS // 8 + 1)
    found = records(study, {0: 1.0, 1: 0.5})
    text = shown(look_at(study, found))
    assert study.points[1].id in text and study.points[0].id not in text
    assert "--json lists all" in text
    assert len(look_at(study, found).as_json()["points"]) == len(study.points)


def test_watch_shows_changes_and_ends_with_the_last_point(tmp_path: Path) -> None:
    study = made_up(tmp_path)
    everything = range(len(study.points))
    moments = [
        look_at(study, records(study, {0: 0.5})),
        look_at(study, records(study, dict.fromkeys(everything, 1.0))),
    ]
    out = io.StringIO()
    repeat_status(
        new_console(file=out, width=200, force_terminal=True), iter(moments).__next__, 0.01
    )
    assert "7 queued, 1 running" in out.getvalue() and "8 finished" in out.getvalue()


def test_gpu_hours_and_money_against_the_plan(tmp_path: Path) -> None:
    study = made_up(tmp_path)
    assert "GPU-hours" not in shown(look_at(study, {}))
    priced = "hardware: {accelerator: h100, gpus: 2, mfu: 0.4, price_per_gpu_hour: 3.0}\n"
    resources = "resources: {num_workers: 2, gpus_per_worker: 1}\nmax_gpu_hours: 5\n"
    spec = tmp_path / "study.yaml"
    spec.write_text(spec.read_text() + priced + resources)
    study = planner.load(spec, tmp_path)
    look = look_at(study, records(study, {0: 1.0, 1: 0.5}))
    total = sum(point.train_flops for point in study.points)
    planned = total / (0.4 * 989e12) / 3600
    assert look.planned_gpu_hours == pytest.approx(planned)
    # Each of the two GPUs of a point is busy as long as it trains.
    assert look.gpu_hours == pytest.approx(2 * look.train_hours)
    numbers = look.as_json()
    assert numbers["cost"] == pytest.approx(3 * look.gpu_hours)
    assert numbers["planned_cost"] == pytest.approx(3 * planned)
    assert f"{look.gpu_hours:.4g} of about <0.01 GPU-hours, cap 5; " in shown(look)
    assert f"cap 5; {3 * look.gpu_hours:.2f} of <0.01 USD" in shown(look)


def test_plan_of_a_large_study_lists_the_first_points(tmp_path: Path) -> None:
    study = made_up(tmp_path, seeds=MANY_POINTS // 8 + 1)
    states = {point.id: "queued" for point in study.points}
    out = io.StringIO()
    print_plan(new_console(file=out, width=300), study, states, {}, "nothing")
    shown, hidden = study.points[:MANY_POINTS], study.points[MANY_POINTS:]
    assert all(point.id in out.getvalue() for point in shown)
    assert not any(point.id in out.getvalue() for point in hidden)
    assert f"... and {len(hidden)} points more; --json lists all." in out.getvalue()
    assert f"{len(study.points)} points, " in out.getvalue()
