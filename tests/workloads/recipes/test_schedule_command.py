"""`python -m workloads schedule`: every kind of run, as a list and as a figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from workloads.commands import app
from workloads.config.rates import learning_rate_at
from workloads.errors import InputError
from workloads.recipes.recipe import load_run

PLAIN = "preset: pico\nbudget: {steps: 12}\n"
GUIDED = PLAIN + "ffn: {kind: lowrank, rank: 8}\nguide: {ratio: 0.5}\n"
GROWN = PLAIN + "grow: {operator: stack, layers: 4, at: {fraction: 0.5}}\n"


def called(tmp_path: Path, text: str, *options: str) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    done = CliRunner().invoke(app, ["schedule", str(path), *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def rows_of(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    return json.loads(called(tmp_path, text, "--json"))


def test_every_step_is_there_with_its_rate(tmp_path: Path) -> None:
    text = PLAIN + "optimizer: {schedule: constant, warmup_steps: 3}\nlearning_rate: 0.75\n"
    rows = rows_of(tmp_path, text)
    assert [row["step"] for row in rows] == list(range(12))
    assert [row["learning_rate"] for row in rows] == [0.25, 0.5, *10 * [0.75]]
    header, *lines = called(tmp_path, text).splitlines()
    assert header.split() == ["step", "learning_rate"] and len({map(len, lines)}) == 1
    assert [float(line.split()[1]) for line in lines] == [row["learning_rate"] for row in rows]


def test_a_guided_run_has_the_guide_weight_and_its_steps_that_read_again(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, GUIDED)
    assert len(rows) == 18
    shares = [row["guide_share"] for row in rows]
    assert shares[0] == 1.0 and shares[3] == pytest.approx(0.5) and shares[6:] == 12 * [0.0]


def test_a_run_that_grows_has_the_rates_of_all_its_phases(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, GROWN)
    config = load_run(tmp_path / "run.yaml")
    base, grown = config.phases
    assert [row["learning_rate"] for row in rows] == [
        learning_rate_at(config, base if step < 6 else grown, step) for step in range(12)
    ]
    # The schedule starts again, at its warm-up or its peak.
    assert rows[6]["learning_rate"] > rows[5]["learning_rate"]
    assert "guide_share" not in rows[0]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_they_are_drawn(suffix: str, tmp_path: Path) -> None:
    drawn = tmp_path / f"rates.{suffix}"
    called(tmp_path, GUIDED, "--plot", str(drawn))
    assert drawn.stat().st_size > 1000


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rates.txt: .txt is no figure; use .png, .svg, .pdf"):
        called(tmp_path, PLAIN, "--plot", str(tmp_path / "rates.txt"))
    with pytest.raises(InputError, match="cannot be written: No such file"):
        called(tmp_path, PLAIN, "--plot", str(tmp_path / "missing" / "rates.png"))
    with pytest.raises(InputError, match="no such preset; the nearest is noam-wide"):
        called(tmp_path, "preset: noam-wid\n")
