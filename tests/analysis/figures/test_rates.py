"""Loss against learning rate: best rates by size, and how far they lie apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.figures.rates import apart, edge_cautions, rates_figure, sweeps
from analysis.tables.errors import RunTableError
from analysis.tables.runs import run_table

Row = Callable[..., dict[str, Any]]
RATES = (0.001, 0.002, 0.004, 0.008, 0.016)
# The best rate by arm and width; the arm without a rule has the base.
BEST = {
    ("dense", 32): 0.008,
    ("dense", 64): 0.004,
    ("dense", 128): 0.001,
    ("dense mup", 64): 0.008,
    ("dense mup", 128): 0.004,
}


@pytest.fixture
def table(row: Row) -> pd.DataFrame:
    rows = [
        row(
            f"w{width}",
            arm,
            point_id=f"{arm} {width} {rate} {seed}",
            recipe="mup" if "mup" in arm else "fixed",
            recipe_base="32x2" if "mup" in arm else None,
            hidden_dim=width,
            num_layers=2,
            params=width**2,
            ffn_kind="dense",
            learning_rate=rate,
            seed=seed,
            val_loss=3 - width / 100 + abs(np.log2(rate / best)) / 10 + (0.02 if seed else -0.02),
        )
        for (arm, width), best in BEST.items()
        for rate in RATES
        for seed in (0, 1)
    ]
    return run_table(pd.DataFrame(rows), "known")


def test_each_size_has_its_mean_loss_by_rate_and_its_best(table: pd.DataFrame) -> None:
    found = {(sweep.arm, sweep.size): sweep for sweep in sweeps(table)}
    wanted = {(arm, f"width {width}"): best for (arm, width), best in BEST.items()}
    # At its base a rule gives the runs without one.
    wanted["dense mup", "width 32"] = 0.008
    assert {key: sweep.best_rate for key, sweep in found.items()} == wanted
    sweep = found["dense", "width 64"]
    assert sweep.rates.tolist() == list(RATES)
    np.testing.assert_allclose(sweep.mean, [2.56, 2.46, 2.36, 2.46, 2.56])
    np.testing.assert_allclose(sweep.high - sweep.low, 0.04)


def test_steps_apart_are_those_of_the_grid(table: pd.DataFrame) -> None:
    found = sweeps(table)
    assert apart([sweep for sweep in found if sweep.arm == "dense"]) == 3
    assert apart([sweep for sweep in found if sweep.arm == "dense mup"]) == 1
    (said,) = edge_cautions(table)
    assert said.startswith("dense, width 128: the best rate 0.001 is at the edge")


def test_the_figure_has_a_panel_for_each_arm_and_names_its_best_rates(table: pd.DataFrame) -> None:
    figure = rates_figure(table, "known")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "dense\nbest rates 0.001 to 0.008, 3 steps apart",
        "dense mup\nbest rates 0.004 to 0.008, 1 step apart",
    ]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["width 32", "width 64", "width 128"]
    for axes in figure.axes:
        rings = [line for line in axes.get_lines() if len(np.asarray(line.get_xdata())) == 1]
        assert len(rings) == 3
        low, high = axes.get_ylim()
        assert all(low < float(np.asarray(ring.get_ydata())[0]) < high for ring in rings)


def test_a_table_without_three_rates_is_refused(table: pd.DataFrame) -> None:
    few = table.loc[table["learning_rate"] < 0.004]
    with pytest.raises(RunTableError, match="no size of an arm has 3 learning rates"):
        rates_figure(few, "known")
