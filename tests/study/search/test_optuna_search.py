"""Searches: what is sampled, what a driver that takes over samples, and one that really trains."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from study.ledger import reader
from study.ledger.reader import Record
from study.plan import planner
from study.plan.naming import variant_tag
from study.plan.planner import Point, Study
from study.search.optuna_search import BATCH, Searcher
from study.search.pareto import pareto_fronts
from study.search.samples import with_recorded
from tests.study.launching import records_of, study_cli
from workloads.errors import InputError

SPEC = """\
study: searched
max_total_flops: 1.0e13
grid:
  preset: [pico]
  ffn: [{kind: dense}, {kind: lowrank}]
budget: {steps: 10}
eval_tokens: 4096
runtime: {log_interval: 5, eval_interval: 10, checkpoint_interval: 10}
search:
  learning_rate: {log: [1.0e-4, 1.0e-1]}
  fraction: {uniform: [0.2, 0.8]}
  trials: 6
resources: {num_workers: 0}
"""


def load(tmp_path: Path, text: str = SPEC, runs: str = "runs") -> Study:
    path = tmp_path / "searched.yaml"
    path.write_text(text)
    return planner.load(path, tmp_path / runs)


def record(point: Point, loss: float, status: str = "finished") -> Record:
    """What the ledger would hold of the point."""
    tags = {
        "point_id": point.id,
        "status": status,
        "fingerprint": point.fingerprint,
        "variant": variant_tag(point.variant),
    }
    return Record("", tags, {"val_loss": loss, "train_flops": float(point.train_flops)})


def loss_of(point: Point) -> float:
    """A bowl in the learning rate, lowest at 3e-3, and lower for larger FFNs."""
    rate, fraction = point.config.optimizer.learning_rate, point.variant.ffn.fraction or 1.0
    return 2 + math.log10(rate / 3e-3) ** 2 - fraction / 10


def search_to_the_end(
    study: Study,
    records: dict[str, Record],
    takes_over: Callable[[int], bool] = lambda ended: False,
) -> Study:
    """Play a launch whose points end one by one; `takes_over` says when a new driver does."""
    searcher = Searcher(study)
    while True:
        study = searcher.advance(study, records, ())
        missing = [point for point in study.points if point.id not in records]
        if not missing:
            return study
        for point in missing:
            records[point.id] = record(point, loss_of(point))
            if takes_over(len(records)):
                searcher = Searcher(study)
                break


def ids(study: Study) -> list[str]:
    return sorted(point.id for point in study.points)


def test_each_open_combination_has_its_trials_within_the_ranges(tmp_path: Path) -> None:
    study = load(tmp_path)
    assert study.points == [] and len(study.searched) == 2
    found = search_to_the_end(study, {}).points
    kinds = [point.config.model.ffn.kind for point in found]
    assert kinds.count("dense") == kinds.count("lowrank") == 6
    for point in found:
        rate = point.config.optimizer.learning_rate
        assert 1e-4 <= rate <= 1e-1 and rate == float(f"{rate:.3g}")
        assert f"lr{rate:g}" in point.id
        if point.config.model.ffn.kind == "lowrank":
            assert 0.2 <= (point.variant.ffn.fraction or 0) <= 0.8


def test_a_search_finds_the_bowl(tmp_path: Path) -> None:
    dense_alone = re.sub("  fraction: .*\n", "", SPEC.replace(", {kind: lowrank}", ""))
    study = load(tmp_path, dense_alone.replace("trials: 6", "trials: 40"))
    dense = search_to_the_end(study, {}).points
    late = [math.log10(p.config.optimizer.learning_rate / 3e-3) for p in dense[-10:]]
    early = [math.log10(p.config.optimizer.learning_rate / 3e-3) for p in dense[:4]]
    assert sum(map(abs, late)) / 10 < sum(map(abs, early)) / 4
    assert min(map(abs, late)) < 0.1


def test_a_search_taken_over_samples_the_same(tmp_path: Path) -> None:
    undisturbed = ids(search_to_the_end(load(tmp_path), {}))
    # At the end of a batch alone, and after every point.
    for runs, takeovers in (("once", {2 * BATCH}), ("always", {*range(1, 12)})):
        study = load(tmp_path, runs=runs)
        assert ids(search_to_the_end(study, {}, takeovers.__contains__)) == undisturbed
    other_seed = load(tmp_path, SPEC.replace("trials: 6", "trials: 6\n  seed: 1"), runs="seed")
    assert not set(ids(search_to_the_end(other_seed, {}))) & set(undisturbed)


def test_more_trials_go_on_with_what_is_known(tmp_path: Path) -> None:
    records: dict[str, Record] = {}
    first = search_to_the_end(load(tmp_path), records)
    more = search_to_the_end(load(tmp_path, SPEC.replace("trials: 6", "trials: 9")), records)
    assert set(ids(first)) < set(ids(more)) and len(more.points) == 18


def test_a_lost_database_is_filled_from_the_ledger(tmp_path: Path) -> None:
    records: dict[str, Record] = {}
    first = search_to_the_end(load(tmp_path), records)
    (first.directory / "search.db").unlink()
    study = Searcher(first).advance(load(tmp_path), records, ())
    assert ids(study) == ids(first)


def test_samples_are_found_in_the_ledger_by_what_they_are(tmp_path: Path) -> None:
    records: dict[str, Record] = {}
    found = search_to_the_end(load(tmp_path), records)
    assert ids(with_recorded(load(tmp_path), records)) == ids(found)
    # Under another budget they are other runs.
    longer = load(tmp_path, SPEC.replace("steps: 10", "steps: 20"))
    assert with_recorded(longer, records).points == []


def test_a_sample_that_fails_costs_a_trial_and_a_diverged_one_is_told_as_bad(
    tmp_path: Path,
) -> None:
    study = load(tmp_path)
    searcher, records = Searcher(study), dict[str, Record]()
    first = searcher.advance(study, records, ()).points
    for point in first[1:]:
        records[point.id] = record(point, math.nan, "diverged")
    after = searcher.advance(study, records, {first[0].id}).points
    assert len(after) == 12
    assert ids(searcher.advance(study, records, ())) == sorted(point.id for point in after)


def test_choices_and_whole_numbers(tmp_path: Path) -> None:
    text = re.sub("learning_rate: .*", "rank: {integers: [4, 28, 8]}", SPEC)
    text = re.sub("  fraction: .*\n", "", text)
    study = load(tmp_path, text)
    assert [point.config.model.ffn.kind for point in study.points] == ["dense"]
    ranks = [p.config.model.ffn.rank for p in search_to_the_end(study, {}).points[1:]]
    assert set(ranks) <= {4, 12, 20, 28} and len(ranks) == len(set(ranks))


def test_two_metrics_have_a_pareto_front(tmp_path: Path) -> None:
    text = SPEC.replace("trials: 6", "trials: 12\n  metric: [val_loss, train_flops]")
    records: dict[str, Record] = {}
    study = search_to_the_end(load(tmp_path, text), records)
    (front,) = [f for f in pareto_fronts(study, records) if f.space.variant.ffn.kind == "lowrank"]
    sampled = [p for p in study.points if p.config.model.ffn.kind == "lowrank"]
    costs = sorted((float(p.train_flops), loss_of(p)) for p in sampled)
    # The second formulation: along increasing cost, each one that is better than all before it.
    expected = [cost for i, cost in enumerate(costs) if all(cost[1] < c[1] for c in costs[:i])]
    assert sorted((float(p.train_flops), loss_of(p)) for p in front.best) == expected
    assert front.finished == 12


def test_the_plan_counts_every_sample_at_the_highest_cost(tmp_path: Path) -> None:
    study = load(tmp_path)
    most = [space.max_train_flops for space in study.searched]
    found = search_to_the_end(study, {}).points
    dense = next(p for p in found if p.config.model.ffn.kind == "dense")
    assert most[0] == 6 * dense.train_flops
    assert max(p.train_flops for p in found if p is not dense) * 6 <= max(most)
    short = SPEC.replace("1.0e13", f"{sum(most) - 1}")
    with pytest.raises(InputError, match=r"the search's 12 samples need .* points or trials"):
        load(tmp_path, short)
    assert load(tmp_path, SPEC.replace("1.0e13", f"{float(sum(most))}")).searched


MISTAKES = {
    "in the grid too": ("  ffn: ", "  learning_rate: [1.0e-3]\n  ffn: ", "remove one of them"),
    "nothing open": ("{kind: lowrank}", "{kind: lowrank, rank: 8}", "search.fraction: every FFN"),
    "two sizes": ("  trials", "  rank: {choice: [4, 8]}\n  trials", "both give the size"),
    "two ranges": ("{log: [", "{uniform: [1.0, 2.0], log: [", "exactly one of log, uniform"),
    "backwards": ("[0.2, 0.8]", "[0.8, 0.2]", "swap the two"),
    "no such metric": ("trials: 6", "trials: 6\n  metric: loss", "not a known value"),
    "too large a fraction": ("[0.2, 0.8]", "[0.2, 1.8]", "fraction must be at most 1"),
    "still open": ("  fraction: {uniform: [0.2, 0.8]}\n", "", "kind lowrank needs rank"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_search_is_one_line(mistake: str, tmp_path: Path) -> None:
    old, new, message = MISTAKES[mistake]
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path, SPEC.replace(old, new, 1))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_search_trains_its_samples_and_shows_the_best(runs_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "searched.yaml"
    path.write_text(SPEC)
    done = study_cli("run", path, "--runs", runs_dir)
    study, records = planner.load(path, runs_dir), records_of(runs_dir, "searched")
    assert [r.status for r in records.values()] == ["finished"] * 12
    assert "best samples" in done.stdout and "6 of 6" in done.stdout
    assert len(with_recorded(study, records).points) == 12
    planned = json.loads(study_cli("plan", path, "--runs", runs_dir, "--json").stdout)
    assert [point["state"] for point in planned["points"]] == ["finished"] * 12
    assert "best samples" in study_cli("status", path, "--runs", runs_dir).stdout
    assert "nothing to run" in study_cli("run", path, "--runs", runs_dir).stderr
    assert reader.read(reader.tracking_uri(runs_dir), "searched") == records


def test_a_range_with_more_values_than_can_be_planned_is_refused(tmp_path: Path) -> None:
    text = re.sub("learning_rate: .*", "rank: {integers: [4, 1000000000]}", SPEC)
    with pytest.raises(InputError, match="999,999,997 values are too many"):
        load(tmp_path, re.sub("  fraction: .*\n", "", text))
