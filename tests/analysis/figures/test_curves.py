"""Training curves: every run is a line of its arm, and the report carries them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.figures.curves import curves_figure
from analysis.report.report import write_report
from analysis.tables.curves import CURVE_COLUMNS, load_curves


def falling(point_id: str, arm: str, floor: float, steps: int = 20) -> pd.DataFrame:
    """Losses falling from ln(257) to a floor; validated at every fifth step."""
    step = np.arange(1, steps + 1)
    loss = floor + (np.log(257) - floor) * np.exp(-step / 4)
    validated = np.where(step % 5 == 0, loss + 0.1, np.nan)
    return pd.DataFrame(
        {
            "point_id": point_id,
            "arm": arm,
            "step": step,
            "train_flops": step * 1e9,
            "train_loss": loss,
            "val_loss": validated,
        }
    )


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
    write_report(ladder(), tmp_path / "without", "without")
    assert not (tmp_path / "without" / "curves.png").exists()
    curves = pd.concat([falling("a", "dense", 2.0), falling("b", "lowrank", 1.9)])
    pages = []
    for name in ("first", "second"):
        write_report(ladder(), tmp_path / name, "with", curves)
        pages.append((tmp_path / name / "report.html").read_bytes())
        back = load_curves(tmp_path / name / "curves.csv")
        pd.testing.assert_frame_equal(back, curves.reset_index(drop=True), check_dtype=False)
    assert b"data:image/svg+xml;base64," in pages[0] and pages[0] == pages[1]


def test_curves_without_a_row_make_an_empty_figure() -> None:
    figure = curves_figure(pd.DataFrame(columns=list(CURVE_COLUMNS)))
    assert [len(axes.get_lines()) for axes in figure.axes] == [0, 0]
