"""Transfer rules in a study: points of the grid, their names and columns, what the plan says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.ledger.writer import point_params
from study.plan import planner
from study.plan.cautions import cautions
from study.plan.planner import Study
from tests.study.launching import in_process
from workloads.errors import InputError

GRID = """study: rules
max_total_flops: 1.0e+15
grid:
  preset: [pico]
  width: [1, 2]
  ffn: [{kind: dense}]
  learning_rate: [0.004, 0.008]
"""
BOTH = GRID + "  recipe: [fixed, mup, {rule: completep, base_layers: 1}]\n"


def planned(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return planner.load(path, tmp_path)


def test_fixed_changes_no_id_and_no_fingerprint(tmp_path: Path) -> None:
    named = [
        [(point.id, point.fingerprint) for point in planned(tmp_path, text).points]
        for text in (GRID, GRID + "  recipe: [fixed]\n", GRID + "  recipe: [{rule: fixed}]\n")
    ]
    assert named[0] == named[1] == named[2] and len(named[0]) == 4
    found = {(point.id, point.fingerprint) for point in planned(tmp_path, BOTH).points}
    assert found > set(named[0])


def test_each_rule_is_an_arm_and_stands_in_ids_and_columns(tmp_path: Path) -> None:
    study = planned(tmp_path, BOTH)
    arms = {point.variant.arm_name() for point in study.points}
    assert arms == {"dense", "dense mup", "dense completepx1"}
    (mup,) = (p for p in study.points if "w2" in p.id and "lr0.004" in p.id and "-mup-" in p.id)
    row = mup.summary()
    assert (row["recipe"], row["recipe_base"]) == ("mup", "32x2")
    assert (row["hidden_dim"], row["num_layers"]) == (64, 2)
    params = point_params(mup)
    assert params["config.model.scaling.output"] == "0.5"
    assert params["config.optimizer.roles.mlp.fc1.weight.rate"] == "0.5"
    fixed = next(p for p in study.points if p.variant.recipe.is_fixed)
    assert fixed.summary()["recipe"] == "fixed" and fixed.summary()["recipe_base"] is None
    assert not any("scaling" in name or "roles" in name for name in point_params(fixed))


def test_at_its_base_a_rule_is_the_run_without_one(tmp_path: Path) -> None:
    study = planned(tmp_path, BOTH)
    # Of mup at width 1; completep has another base in depth.
    assert len(study.points) == 4 + 2 + 4
    reasons = [item.reason for item in study.dropped]
    assert len(reasons) == 2 and all(r.startswith("the same run as pico-dense") for r in reasons)


def test_the_plan_says_what_a_rule_has_chosen(tmp_path: Path) -> None:
    planned(tmp_path, BOTH)
    path = tmp_path / "study.yaml"
    lines = in_process("plan", path, "--runs", tmp_path).stdout.splitlines()
    told = [line for line in lines if line.startswith("recipe: ")]
    assert len(told) == 3  # mup in width 2, and completep in each.
    (mup,) = (line for line in told if "-mup-" in line)
    assert mup.endswith(
        "and 1 more: rate x0.5, decay x2: all hidden matrices; initial x0.707: all hidden "
        "matrices; logits x0.5"
    )
    assert any("sublayers x0.5" in line and "epsilon x0.5: layers" in line for line in told)
    points = json.loads(in_process("plan", path, "--json", "--runs", tmp_path).stdout)["points"]
    (point,) = (p for p in points if p["id"].endswith("mup-seed0") and "lr0.004" in p["id"])
    assert point["roles"]["mlp.fc2.weight"] == {"rate": 0.5, "decay": 2.0, "learning_rate": 0.002}
    assert point["model"]["scaling"]["output"] == 0.5


def test_cautions_say_where_a_rule_leaves_its_range(tmp_path: Path) -> None:
    study = planned(tmp_path, GRID.replace("[1, 2]", "[32]") + "  recipe: [mup]\n")
    (said,) = (text for text in cautions(study) if "2203.03466" in text)
    assert said.startswith("pico-w32-dense") and " and 1 more: width 1024 is 32 times" in said


def test_rows_and_exclude_name_rules(tmp_path: Path) -> None:
    rules = "exclude:\n  - {recipe: mup}\n  - {recipe: {rule: completep}}\n"
    study = planned(tmp_path, BOTH + rules)
    assert {point.variant.recipe.rule for point in study.points} == {"fixed"}
    head = "study: r\nmax_total_flops: 1.0e+15\npoints:\n"
    (point,) = planned(tmp_path, head + "  - {preset: pico, width: 2, recipe: mup}\n").points
    assert point.config.model.multipliers.output == 0.5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("  recipe: [mupp]\n", "no such rule; the nearest is mup"),
        ("  recipe: [mup, mup]\n", "stands in the list already; remove one of the two"),
        ("  recipe: [{rule: step_law, base_width: 8}]\n", "base_width does not apply to rule"),
        ("recipe: mup\n", "recipe belongs under grid"),
    ],
)
def test_a_mistake_is_one_line(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.yaml:8: ") as caught:
        planned(tmp_path, GRID + line)
    assert words in str(caught.value)
