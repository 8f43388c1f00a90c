"""Training curves: every run is a line of its arm, and the report carries them."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.figures.curves import curves_figure
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
