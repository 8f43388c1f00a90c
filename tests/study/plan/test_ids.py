"""Ids of points: short where that is enough, and one for each fingerprint."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from study.plan import planner
from study.plan.planner import Study
from workloads.errors import InputError

HEAD = "study: ids\nmax_total_flops: 1.0e16\n"


def planned(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + text)
    return planner.load(path, tmp_path)


def test_points_that_share_a_short_id_have_the_steps_and_all_digits_in_theirs(
    tmp_path: Path,
) -> None:
    rows = [
        "{preset: pico, budget: {steps: 2000}}",
        "{preset: pico, budget: {steps: 2001}}",
        "{preset: pico, budget: {steps: 3000}}",
        "{preset: pico, learning_rate: 1.0e-3}",
        "{preset: pico, learning_rate: 1.0000001e-3}",
    ]
    rows_text = "\n".join(f"  - {row}" for row in rows)
    points = planned(tmp_path, f"points:\n{rows_text}\n").points
    assert [p.id for p in points] == [
        "pico-dense-c1.21e12-steps2000-seed0",
        "pico-dense-c1.21e12-steps2001-seed0",
        "pico-dense-c1.81e12-seed0",
        "pico-dense-c1.21e11-steps200-lr0.001-seed0",
        "pico-dense-c1.21e11-steps200-lr0.0010000001-seed0",
    ]
    # The order of the file does not decide who is who.
    rows_text = "\n".join(f"  - {row}" for row in reversed(rows))
    swapped = planned(tmp_path, f"points:\n{rows_text}\n").points
    assert {p.id: p.fingerprint for p in swapped} == {p.id: p.fingerprint for p in points}


# Rows that differ in one thing, most of them by less than a short id shows.
ROWS = [
    "{}",
    "{seed: 1}",
    "{width: 1.5}",
    "{model: {rope_base: 10001.0}}",
    "{model: {rope_base: 10001.0000001}}",
    "{model: {rope_scaling: {factor: 2}}}",
    "{model: {rope_scaling: {factor: 2, low_freq_factor: 2}}}",
    "{model: {norm: layernorm}}",
    "{model: {num_layers: 2}}",
    "{batch_size: 16}",
    "{batch_size: 8}",
    "{learning_rate: 6.0e-3}",
    "{learning_rate: 6.0000001e-3}",
    "{budget: {steps: 200}}",
    "{budget: {steps: 201}}",
    "{budget: {steps: 2001}}",
    "{budget: {steps: 2002}}",
    "{budget: {tokens: 4_100_000}}",
    "{budget: {isoflop: [1.0e+12]}}",
    "{budget: {isoflop: [1.0005e+12]}}",
    "{ffn: {kind: lowrank, rank: 8}}",
    "{ffn: {kind: lowrank, rank: 8, keep_first_dense: false}}",
    "{ffn: {kind: lowrank, rank: 8}, guide: {ratio: 0.4}}",
    "{ffn: {kind: lowrank, rank: 8}, guide: {ratio: 0.40000001}}",
    "{ffn: {kind: lowrank, rank: 8}, guide: {ratio: 0.4, reduce_flops: false}}",
    "{ffn: {kind: lowrank, rank: 8}, guide: {ratio: 0.4, mode: fixed_steps}}",
]


def test_ids_separate_what_fingerprints_separate_and_nothing_else(tmp_path: Path) -> None:
    alone = [
        planned(tmp_path, f"points: [{row.replace('{', '{preset: pico, ', 1)}]\n").points[0]
        for row in ROWS
    ]
    texts = "\n".join(f"  - {row.replace('{', '{preset: pico, ', 1)}" for row in ROWS)
    study = planned(tmp_path, f"points:\n{texts}\n")
    assert {p.fingerprint for p in study.points} == {p.fingerprint for p in alone}
    for a, b in itertools.combinations(study.points, 2):
        assert a.id != b.id and a.fingerprint != b.fingerprint
    assert len(study.dropped) == len(ROWS) - len(study.points) > 0


def test_writing_out_what_the_preset_has_is_the_same_run_and_said(tmp_path: Path) -> None:
    study = planned(
        tmp_path,
        "grid: {preset: [pico], ffn: [{kind: dense}]}\n"
        "points:\n"
        "  - {preset: pico, batch_size: 16}\n"
        "  - {preset: pico, learning_rate: 0.006}\n"
        "  - {preset: pico, model: {norm: layernorm}}\n"
        "  - {preset: pico, budget: {steps: 200}}\n",
    )
    (first,) = (point.id for point in study.points)
    assert first == "pico-dense-c1.21e11-seed0"
    assert [(item.point, item.reason) for item in study.dropped] == [
        ("pico dense bs16 seed0", f"the same run as {first}"),
        ("pico dense lr0.006 seed0", f"the same run as {first}"),
        ("pico layernorm dense seed0", f"the same run as {first}"),
        ("pico dense seed0", f"the same run as {first}"),
    ]


def test_one_run_in_two_arms_is_refused(tmp_path: Path) -> None:
    ffns = "[{kind: lowrank, rank: 8}, {kind: lowrank, rank: 8, arm: other}]"
    with pytest.raises(InputError, match=r"grid.ffn\[1\]: pico-lowrank-r8-.* already; remove one"):
        planned(tmp_path, f"grid: {{preset: [pico], ffn: {ffns}}}\n")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("seed: [0, 1, 0]", "grid.seed[2] = 0"),
        ("width: [1, 1.0]", "grid.width[1] = 1.0"),
        ("guide: [null, null]", "grid.guide[1]"),
        ("learning_rate: [1.0e-3, 0.001]", "grid.learning_rate[1] = 0.001"),
        ("batch_size: [8, 8]", "grid.batch_size[1] = 8"),
    ],
)
def test_a_value_that_stands_twice_is_blamed_where_it_stands(
    tmp_path: Path, change: str, place: str
) -> None:
    with pytest.raises(InputError) as raised:
        planned(tmp_path, f"grid:\n  preset: [pico]\n  ffn: [{{kind: dense}}]\n  {change}\n")
    message = str(raised.value).removeprefix(str(tmp_path / "study.yaml"))
    assert message == f":6: {place}: stands in the list already; remove one of the two"
