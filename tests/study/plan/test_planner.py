"""Plans: ids, costs and the specs that ship with the platform."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from study.plan import planner
from tests.study.launching import ROOT, in_process
from workloads.recipes.presets import PRESETS

SPECS = ROOT / "study" / "specs"

# (params, FFN params, training FLOPs) of arXiv 2406.16450: table 1 for xl, its scaling study for
# the rest; FLOPs at the paper's nominal tokens, of which whole steps leave out less than 1e-4.
PAPER = {
    ("transformer-s", "dense"): (109_632_000, 56_623_104, 1.6947e18),
    ("transformer-s", "lowrank 63%"): (90_167_808, 37_158_912, 1.4378e18),
    ("transformer-s", "lowrank 32%"): (73_947_648, 20_938_752, 1.2236e18),
    ("transformer-m", "dense"): (335_079_424, 201_326_592, 1.5481e19),
    ("transformer-m", "lowrank 63%"): (262_727_680, 128_974_848, 1.2572e19),
    ("transformer-m", "lowrank 32%"): (202_434_560, 68_681_728, 1.0148e19),
    ("transformer-l", "dense"): (729_111_552, 452_984_832, 7.0345e19),
    ("transformer-l", "lowrank 63%"): (566_320_128, 290_193_408, 5.6104e19),
    ("transformer-l", "lowrank 32%"): (430_660_608, 154_533_888, 4.4237e19),
    ("transformer-xl", "dense"): (1_274_138_624, 805_306_368, 2.1025e20),
    ("transformer-xl", "lowrank 63%"): (984_731_648, 515_899_392, 1.6597e20),
    ("transformer-xl", "lowrank 32%"): (743_559_168, 274_726_912, 1.2907e20),
    ("transformer-xl", "blockdense 63%"): (954_585_088, 485_752_832, 1.6135e20),
    ("transformer-xl", "blockdense 32%"): (728_485_888, 259_653_632, 1.2676e20),
    ("transformer-xl", "blockshuffle 63%"): (984_731_648, 515_899_392, 1.6597e20),
    ("transformer-xl", "blockshuffle 32%"): (743_559_168, 274_726_912, 1.2907e20),
}


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict]:
    """The points of `plan paper.yaml --json`, by preset and arm."""
    runs = tmp_path_factory.mktemp("runs")
    done = in_process("plan", SPECS / "paper.yaml", "--json", "--runs", runs)
    points = json.loads(done.stdout)["points"]
    assert len(points) == 28
    return {(point["preset"], point["arm"]): point for point in points}


@pytest.mark.parametrize("key", PAPER)
def test_paper_points_are_the_published_ones(
    key: tuple[str, str], paper: dict[tuple[str, str], dict]
) -> None:
    params, ffn_params, train_flops = PAPER[key]
    point = paper[key]
    assert (point["params"], point["ffn_params"]) == (params, ffn_params)
    assert point["train_flops"] == pytest.approx(train_flops, rel=1e-4)
    assert f"{point['train_flops']:.2e}" == f"{train_flops:.2e}"


def test_paper_steps_and_ranks(paper: dict[tuple[str, str], dict]) -> None:
    steps = {preset: point["steps"] for (preset, _), point in paper.items()}
    assert list(steps.values()) == [
        int(tokens / 512 / 1024) for tokens in (2.2e9, 6.7e9, 14.58e9, 25.5e9)
    ]
    ranks = [point["ffn"]["rank"] for (_, arm), point in paper.items() if arm == "lowrank 32%"]
    assert ranks == [192, 256, 384, 512]
    assert len({point["id"] for point in paper.values()}) == 28
    assert len({point["fingerprint"] for point in paper.values()}) == 28


def test_quickstart_is_six_sizes_of_two_arms(tmp_path: Path) -> None:
    points = planner.load(SPECS / "quickstart.yaml", tmp_path).points
    found = Counter(
        (point.summary()["arm"], point.summary()["preset"], point.summary()["width"])
        for point in points
    )
    assert set(found.values()) == {2}
    assert Counter(arm for arm, _, _ in found) == {"dense": 6, "lowrank 31.25%": 6}
    assert all(point.passes and point.passes < 0.1 for point in points)


def test_plan_is_fast_and_needs_no_torch_and_no_ray(tmp_path: Path) -> None:
    blocked = (
        "import sys; sys.modules.update(torch=None, ray=None);"
        "from study.__main__ import main; main()"
    )
    command = [sys.executable, "-c", blocked, "plan", str(SPECS / "paper.yaml")]
    before = _processor_seconds_of_children()
    done = subprocess.run(
        [*command, "--runs", str(tmp_path)], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Not wall time, which others on the machine lengthen.
    assert _processor_seconds_of_children() - before < 2.0


def _processor_seconds_of_children() -> float:
    """Return the processor time of the child processes that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_adding_a_size_keeps_the_other_points(tmp_path: Path) -> None:
    text = (SPECS / "quickstart.yaml").read_text()
    larger = tmp_path / "larger.yaml"
    larger.write_text(text.replace("[pico, nano, micro]", "[pico, nano, micro, mini]"))
    before = {p.id: p.fingerprint for p in planner.load(SPECS / "quickstart.yaml", tmp_path).points}
    after = {p.id: p.fingerprint for p in planner.load(larger, tmp_path).points}
    assert len(before) == 24 and len(after) == 32 and before.items() <= after.items()


WIDTHS = """\
study: widths
max_total_flops: 1.0e14
grid:
  preset: [nano, micro]
  width: [0.5, 1, 2]
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.3125}]
  guide: [null, {ratio: 0.4}]
  seed: [0, 1]
"""


def load(tmp_path: Path, text: str) -> planner.Study:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return planner.load(path, tmp_path)


def test_widths_are_sizes_of_the_same_curve(tmp_path: Path) -> None:
    study = load(tmp_path, WIDTHS)
    without = load(tmp_path, WIDTHS.replace("  width: [0.5, 1, 2]\n", ""))
    assert len(study.points) == 3 * len(without.points) == 2 * 3 * 3 * 2
    assert {p.id: p.fingerprint for p in without.points}.items() <= {
        p.id: p.fingerprint for p in study.points
    }.items()
    for point in study.points:
        width, preset = point.variant.width, PRESETS[point.variant.preset]
        assert point.config.model.hidden_dim == width * preset.model.hidden_dim
        assert point.config.optimizer.learning_rate == preset.learning_rate
        assert point.config.tokens == preset.tokens
        name = f"{point.variant.preset}-" + ("" if width == 1 else f"w{width:g}-")
        assert point.id.startswith(name + point.config.model.ffn.kind)
    arms = {"dense", "lowrank 31.25%", "lowrank 31.25% guided 0.4"}
    assert {point.variant.arm_name() for point in study.points} == arms


BATCHES = """\
study: batches
max_total_flops: 1.0e14
grid:
  preset: [nano]
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.3125}]
  batch_size: [16, 64]
points: [{preset: pico, batch_size: 8}]
budget: {tokens: 409_600}
"""


def test_batch_sizes_are_points_of_the_same_curve_with_the_same_tokens(tmp_path: Path) -> None:
    points = load(tmp_path, BATCHES).points
    assert [(p.variant.preset, p.config.batch_size, p.config.steps) for p in points] == [
        *[("nano", 16, 200), ("nano", 64, 50)] * 2,
        ("pico", 8, 400),
    ]
    assert [f"-bs{p.config.batch_size}-seed0" in p.id for p in points] == [True] * 5
    assert {p.variant.arm_name() for p in points[:4]} == {"dense", "lowrank 31.25%"}
    for point in points:
        summary = point.summary()
        assert summary["batch_size"] == point.config.batch_size
        assert summary["tokens_per_step"] == point.config.tokens_per_step
        assert summary["tokens"] == summary["steps"] * summary["tokens_per_step"] == 409_600


def test_the_presets_batch_written_down_is_the_same_run(tmp_path: Path) -> None:
    written = load(tmp_path, BATCHES).points
    left_out = load(tmp_path, BATCHES.replace("  batch_size: [16, 64]\n", "")).points
    assert [p.fingerprint for p in written[:4:2]] == [p.fingerprint for p in left_out[:2]]
    assert [p.id.replace("-bs16", "") for p in written[:4:2]] == [p.id for p in left_out[:2]]


def test_batches_are_excluded_by_number_or_by_that_of_the_preset(tmp_path: Path) -> None:
    study = load(tmp_path, BATCHES + "exclude: [{preset: nano, batch_size: 16}]\n")
    assert [p.config.batch_size for p in study.points] == [64, 64, 8]
    assert [d.point for d in study.dropped] == [
        "nano dense bs16 seed0",
        "nano lowrank 31.25% bs16 seed0",
    ]
    row = BATCHES.replace("  batch_size: [16, 64]\n", "") + "exclude: [{batch_size: 16}]\n"
    assert [p.config.batch_size for p in load(tmp_path, row).points] == [8]


def test_every_dropped_combination_is_listed_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        WIDTHS
        + "exclude:\n"
        + "  - {preset: micro, width: 2}\n"
        + "  - {ffn: {kind: lowrank}, guide: {ratio: 0.4}, seed: 1}\n"
        + "  - {preset: nano, width: 0.5, guide: null, seed: 0}\n"
    )
    text = in_process("plan", path, "--runs", tmp_path).stdout
    found = json.loads(in_process("plan", path, "--json", "--runs", tmp_path).stdout)
    dropped = {item["point"]: item["reason"] for item in found["dropped"]}
    assert len(found["points"]) + len(dropped) == 2 * 3 * 2 * 2 * 2
    assert dropped["nano w0.5 dense guided 0.4 seed1"].startswith(
        "a dense FFN has nothing to guide"
    )
    assert dropped["micro w2 lowrank 31.25% guided 0.4 seed0"] == "exclude[0] matches it"
    assert dropped["nano lowrank 31.25% guided 0.4 seed1"] == "exclude[1] matches it"
    assert dropped["nano w0.5 dense seed0"] == "exclude[2] matches it"
    reasons = Counter(reason.partition(" ")[0] for reason in dropped.values())
    assert reasons == {"a": 12, "exclude[0]": 6, "exclude[1]": 5, "exclude[2]": 2}
    for point, reason in dropped.items():
        assert f"dropped: {point}: {reason}\n" in text
    left = {point["id"] for point in found["points"]}
    assert not any(id.startswith("micro-w2-") for id in left)
    assert {point["width"] for point in found["points"]} == {0.5, 1, 2}


def test_excluding_by_the_presets_learning_rate_and_by_rank(tmp_path: Path) -> None:
    text = """\
study: a
max_total_flops: 1.0e14
grid:
  preset: [nano, micro]
  ffn: [{kind: lowrank, rank: 8}, {kind: blockdense, rank: 16, nblocks: 2}]
points: [{preset: nano, seed: 3}]
exclude: [{learning_rate: 3.0e-3, ffn: {rank: 8}}, {ffn: {nblocks: 2}}]
"""
    study = load(tmp_path, text)
    assert [(p.variant.preset, p.variant.arm_name()) for p in study.points] == [
        ("nano", "lowrank r8"),
        ("nano", "dense"),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("runtime: {micro_batch_size: 16}", "batch_size 20 must divide evenly into 1 workers'"),
        ("resources: {num_workers: 3}", "batch_size 20 must divide evenly into 3 workers'"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_by_the_plan(
    tmp_path: Path, lines: str, message: str
) -> None:
    spec = tmp_path / "uneven.yaml"
    spec.write_text(
        "study: uneven\nmax_total_flops: 1.0e15\n"
        f"points: [{{preset: pico, batch_size: 20}}]\n{lines}\n"
    )
    done = in_process("plan", spec, "--runs", tmp_path, check=False)
    assert done.returncode == 2 and message in done.stderr
    assert done.stderr.startswith(f"{spec}:3: points[0]")
