"""Optimizers in a study file: an axis, arms, ids, and what each leaves to the study and preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.plan import planner
from study.plan.naming import variant_tag
from study.plan.planner import Study
from workloads.errors import InputError
from workloads.recipes.variant import Variant

HEAD = "study: optimizers\nmax_total_flops: 1.0e20\n"
AXIS = """\
grid:
  preset: [pico]
  ffn: [{}, {kind: lowrank, rank: 8}]
  optimizer: [{}, {weight_decay: 0.5}, {kind: sophia_g, betas: [0.9, 0.95]}, {kind: muon}]
"""


def planned(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + text)
    return planner.load(path, tmp_path)


def test_optimizers_are_arms_with_ids_and_a_column(tmp_path: Path) -> None:
    points = planned(tmp_path, AXIS).points
    assert [p.variant.arm_name() for p in points] == [
        "dense adamw",
        "dense adamw weight_decay=0.5",
        "dense sophia_g betas=0.9,0.95",
        "dense muon",
        "lowrank r8 adamw",
        "lowrank r8 adamw weight_decay=0.5",
        "lowrank r8 sophia_g betas=0.9,0.95",
        "lowrank r8 muon",
    ]
    assert [p.id.split("-", 3)[3] for p in points[:4]] == [
        "adamw-seed0",
        "adamw-weight_decay=0.5-seed0",
        "sophia_g-betas=0.9,0.95-seed0",
        "muon-seed0",
    ]
    assert [p.summary()["optimizer"] for p in points[:4]] == [
        "adamw",
        "adamw weight_decay=0.5",
        "sophia_g betas=0.9,0.95",
        "muon",
    ]
    assert len({p.fingerprint for p in points}) == 8
    # What an optimizer adds is on the bill.
    flops = [p.train_flops for p in points[:4]]
    assert flops[0] == flops[1] < min(flops[2:])


def test_a_point_without_an_optimizer_of_its_own_is_named_as_before(tmp_path: Path) -> None:
    given = "points: [{preset: pico}]\noptimizer: {betas: [0.9, 0.95]}\n"
    (point,) = planned(tmp_path, given).points
    assert (point.id, point.variant.arm_name()) == ("pico-dense-c1.21e11-seed0", "dense")
    assert point.summary()["optimizer"] == "adamw betas=0.9,0.95"


def test_what_an_optimizer_leaves_out_is_the_studys_and_then_the_presets(tmp_path: Path) -> None:
    text = """\
points:
  - {preset: noam-wide}
  - {preset: noam-wide, optimizer: {kind: muon, weight_decay: 0.2}}
  - {preset: noam-wide, optimizer: {schedule: cosine}}
  - {preset: pico, optimizer: {kind: sophia_g}}
optimizer: {warmup_fraction: 0.02, betas: [0.8, 0.9]}
"""
    noam, muon, cosine, sophia = (p.config.optimizer for p in planned(tmp_path, text).points)
    assert (noam.schedule, noam.warmup_fraction, noam.decay) == (
        "onecycle",
        0.02,
        "hidden_matrices",
    )
    assert noam.model_dump()["betas"] == (0.8, 0.9)
    assert (muon.schedule, muon.warmup_fraction, muon.weight_decay) == ("onecycle", 0.02, 0.2)
    assert muon.decay == "hidden_matrices"
    # The kind's own fields are not those of another kind.
    assert muon.model_dump()["betas"] == (0.9, 0.95)
    assert sophia.model_dump()["betas"] == (0.965, 0.99)
    assert (cosine.schedule, cosine.initial_learning_rate_ratio) == ("cosine", 0.01)
    assert (sophia.schedule, sophia.warmup_fraction, sophia.weight_decay) == ("cosine", 0.02, 0.2)


def test_a_recorded_variant_is_the_one_that_was_written(tmp_path: Path) -> None:
    """A value that is its kind's default stands where the study has another."""
    text = "optimizer: {weight_decay: 0.3}\npoints:\n"
    text += "  - {preset: pico, optimizer: {kind: muon, weight_decay: 0.1}}\n"
    (point,) = planned(tmp_path, text).points
    assert point.config.optimizer.weight_decay == 0.1
    back = Variant.model_validate_json(variant_tag(point.variant))
    assert back == point.variant and back.arm_name() == point.variant.arm_name()
    assert "optimizer" not in variant_tag(Variant(preset="pico"))


def test_optimizers_can_be_excluded_by_kind(tmp_path: Path) -> None:
    text = AXIS + "exclude: [{optimizer: {kind: sophia_g}, ffn: {kind: dense}}]\n"
    arms = [p.variant.arm_name() for p in planned(tmp_path, text).points]
    assert len(arms) == 7 and "dense sophia_g betas=0.9,0.95" not in arms
    with pytest.raises(InputError, match=r"exclude\[0\].optimizer.kind = .*: no such"):
        planned(tmp_path, AXIS + "exclude: [{optimizer: {kind: sophia}}]\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{kind: sofia_g}",
            "the nearest is sophia_g (of adamw, sophia_g, muon)",
        ),
        ("{kind: muon, rho: 0.1}", "rho"),
        ("{schedule: onecyle}", "no such schedule; the nearest is onecycle"),
        ("{kind: muon, schedule: inverse_sqrt}", "schedule inverse_sqrt needs warmup_steps"),
        ("{decay: hidden}", "hidden_matrices"),
        (
            "{schedule: wsd, warmup_steps: 190}",
            "warmup_steps 190 is more than the first 160 of 200 steps",
        ),
    ],
)
def test_a_mistake_is_one_line_at_its_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        planned(tmp_path, f"grid:\n  preset: [pico]\n  ffn: [{{}}]\n  optimizer: [{{}}, {text}]\n")
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert ":6: grid.optimizer[1]" in str(raised.value)


def test_an_optimizer_that_stands_twice_is_told(tmp_path: Path) -> None:
    text = "grid:\n  preset: [pico]\n  ffn: [{}]\n  optimizer: [{kind: muon}, {kind: muon}]\n"
    with pytest.raises(InputError, match=r"grid.optimizer\[1\]: stands in the list already"):
        planned(tmp_path, text)
