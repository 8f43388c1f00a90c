"""`python -m workloads bench shapes`: models of equal step time, measured on small ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kernels.bench import roofline
from kernels.timing import Ratio
from tests.command import run_main
from workloads.__main__ import main
from workloads.bench import shapes
from workloads.bench.shapes import Shape

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The roofline of small matrices takes no seconds."""
    sizes = roofline.Sizes(256, 2**20, rounds=1)
    monkeypatch.setattr(roofline.Sizes, "of", lambda device: sizes)


def bench(*arguments: object) -> tuple[int, str, str]:
    done = run_main(main, "workloads", "bench", "shapes", *map(str, arguments))
    return done.returncode, done.stdout, done.stderr


def test_a_deeper_model_of_equal_step_time_is_narrower(tmp_path: Path) -> None:
    out = tmp_path / "shapes.jsonl"
    options = ("--preset", "pico", "--layers", "1,6", "--rounds", 1, "--out", out, "--json")
    code, printed, told = bench(*options)
    assert code == 0, told
    found = json.loads(printed)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["width"] for row in found["shapes"]] == [row["width"] for row in rows]
    preset, *others = rows
    assert (preset["layers"], preset["width"]) == (2, 32)
    assert {row["layers"] for row in others} == {1, 6}
    # Heads keep their size.
    assert all(row["width"] % 16 == 0 for row in others)
    widest = {n: max(row["width"] for row in others if row["layers"] == n) for n in (1, 6)}
    assert widest[1] >= 32 >= widest[6]
    assert all(row["step_seconds"] > 0 and row["flops_per_second"] > 0 for row in rows)
    assert found["by_params"][0].keys() == {"layers", "width"}
    assert "1 x " in told and "Most parameters: " in told


def test_no_measurement_begins_after_the_time() -> None:
    code, printed, _ = bench("--preset", "pico", "--seconds", 0, "--rounds", 1)
    assert code == 0
    assert len([line for line in printed.splitlines() if " x " in line[:8]]) == 1


def shape(layers: int, width: int, params: int, ratio: float, rate: float) -> Shape:
    return Shape(layers, width, params, ratio, Ratio(ratio, ratio, ratio), rate, rate / 10)


def test_the_ranking_takes_the_nearest_of_each_depth_that_is_near_enough() -> None:
    found = [
        shape(4, 96, 100, 1.0, 5.0),
        shape(2, 144, 150, 1.3, 9.0),
        shape(2, 120, 120, 1.05, 7.0),
        shape(8, 72, 90, 0.9, 4.0),
        shape(16, 24, 30, 0.5, 1.0),
    ]
    ranked = shapes.nearest_of_each_depth(found)
    assert [(s.layers, s.width) for s in ranked] == [(2, 120), (4, 96), (8, 72)]
    said = shapes.verdict(found)
    assert "Most parameters: 2 x 120, 1.20 times the preset's." in said
    assert "Most FLOPs a second: 2 x 120, 1.40 times the preset's." in said
    assert "No width comes within 15% of that time at layers 16." in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layers", "2,x"), "--layers 2,x: this should be whole numbers, such as 2,6,8"),
        (("--layers", "0"), "--layers 0: this should be whole numbers"),
        (("--preset", "nani"), "--preset nani: no such preset; the nearest is nano"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    code, _, told = bench(*arguments)
    assert code == 2 and message in told
