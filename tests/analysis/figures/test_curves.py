"""Training curves: every run is a line of its arm, and the report carries them."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.figures.curves import curves_figure
from analysis.figures.style import COLOURS
from analysis.report.report import write_report
from analysis.tables.curves import CURVE_COLUMNS, load_curves
from tests.analysis.known import falling


def test_each_run_is_a_line_in_the_look_of_its_arm() -> None:
    runs = [falling("a", "dense", 2.0), falling("b", "dense", 2.1), falling("c", "$ lowrank", 1.9)]
    figure = curves_figure(pd.concat(runs))
    training, validation = figure.axes
    assert [len(np.asarray(line.get_xdata())) for line in training.get_lines()] == [20] * 3
    assert [len(np.asarray(line.get_xdata())) for line in validation.get_lines()] == [4] * 3
    looks = [(line.get_color(), line.get_linestyle()) for line in validation.get_lines()]
    assert looks[0] == looks[1] != looks[2]
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["dense", "$ lowrank"]
    ends = [run["train_loss"].iloc[-1] for run in runs]
    low, high = training.get_ylim()
    assert low < min(ends) and max(ends) < high < np.log(257)


def test_an_arm_has_one_look_whichever_arms_have_curves() -> None:
    curves = pd.concat([falling("c", "lowrank", 1.9), falling("a", "dense", 2.0)])
    figure = curves_figure(curves, ["gone", "dense", "lowrank"])
    colours = {
        text.get_text(): line.get_color()
        for text, line in zip(
            figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True
        )
    }
    assert colours == {"dense": COLOURS[1], "lowrank": COLOURS[2]}


def test_training_loss_is_drawn_as_its_running_mean() -> None:
    run = falling("a", "dense", 2.0, steps=240)
    run["train_loss"] += np.where(run["step"] % 2, 0.5, -0.5)
    (line,) = curves_figure(run).axes[0].get_lines()
    drawn = np.asarray(line.get_ydata())
    assert np.abs(np.diff(drawn[50:-50])).max() < 0.06 < np.abs(np.diff(run["train_loss"])).max()


def test_the_report_shows_the_curves_it_is_given(
    ladder: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    curves = pd.concat([falling("a", "dense", 2.0), falling("b", "lowrank", 1.9)])
    write_report(ladder(), tmp_path, "with", curves)
    back = load_curves(tmp_path / "curves.csv")
    pd.testing.assert_frame_equal(back, curves.reset_index(drop=True), check_dtype=False)
    picture = base64.b64encode((tmp_path / "curves.svg").read_bytes())
    assert b"data:image/svg+xml;base64," + picture in (tmp_path / "report.html").read_bytes()


def test_curves_without_a_row_make_an_empty_figure() -> None:
    figure = curves_figure(pd.DataFrame(columns=list(CURVE_COLUMNS)))
    assert [len(axes.get_lines()) for axes in figure.axes] == [0, 0]
