"""The scaling figure: its axes follow the runs, whatever the interval."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.figures import COLOURS, LINES, MARKERS, scaling_figure
from analysis.ladder import Resampling, fit_power_law


@pytest.mark.parametrize("noise", [0.001, 0.3])
def test_limits_hold_the_runs_and_not_the_band(
    ladder: Callable[..., pd.DataFrame], noise: float
) -> None:
    runs = ladder(noise=(noise, -noise, noise))
    fits = {
        str(arm): fit_power_law(rows["train_flops"], rows["val_loss"])
        for arm, rows in runs.groupby("arm", sort=False)
    }
    figure = scaling_figure(runs, fits, Resampling())
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    losses = np.log(runs["val_loss"])
    assert np.log(low) < losses.min() and losses.max() < np.log(high)
    assert np.log(high / low) < 2 * np.ptp(losses)
    assert "paper convention" in axes.get_xlabel()
    assert "nats per token" in axes.get_ylabel()
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == list(fits)
    looks = [(line.get_marker(), line.get_linestyle()) for line in legend.get_lines()]
    assert len(set(looks)) == 2


def test_no_two_arms_look_alike() -> None:
    looks = {
        (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], LINES[i % len(LINES)])
        for i in range(40)
    }
    assert len(looks) == 40
    # In grayscale the first four arms differ by line style already.
    assert len(set(LINES[:4])) == 4
    assert "#ffff00" not in map(to_hex, COLOURS)
