"""Every figure that draws kinds draws a kind without a place in the table of looks, and names it.

Each test draws the known kind `lowrank` beside `toy`, which no table knows, and reads the lines
back from the axes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import guided, style
from analysis.figures.curves import curves_figure, dynamics_figure, largest_figure
from analysis.figures.latency import latency_figure, published_figure
from analysis.figures.scaling import kinds_figure, scaling_figure
from analysis.figures.spectra import trained_figure
from analysis.scaling.arms import fit_arms
from analysis.tables.errors import RunTableError
from analysis.tables.frames import where
from analysis.tables.latency import Latencies, Timing, load_latencies
from analysis.tables.runs import run_table, split_usable
from analysis.tables.spectra import Shape
from analysis.uncertainty.bootstrap import Resampling
from tests.analysis.known import falling

Row = Callable[..., dict[str, Any]]
KINDS = ("dense", "lowrank", "toy")


@pytest.fixture
def runs(row: Row) -> pd.DataFrame:
    """Two sizes of three kinds, with a guided run of each structured kind."""
    rows = []
    for kind in KINDS:
        arm = kind if kind == "dense" else f"{kind} 30%"
        for size, C in (("s", 1e12), ("m", 1e13)):
            own = {"ffn_kind": kind, "ffn_fraction": 0.3, "train_flops": C, "params": C / 1e7}
            rows.append(row(size, arm, **own))
            if kind != "dense":
                name = f"{arm} guided"
                own |= {"guide_ratio": 0.4}
                rows.append(row(size, name, **own))
    return run_table(pd.DataFrame(rows), "runs")


@pytest.fixture
def curves(runs: pd.DataFrame) -> pd.DataFrame:
    pairs = zip(runs["point_id"], runs["arm"], strict=True)
    return pd.concat([falling(point, arm, 2.0) for point, arm in pairs])


def panel(figure: Figure, kind: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title().endswith(kind))


def names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_unknown_kinds_look_like_no_known_one_and_always_the_same() -> None:
    numbers = style.kind_numbers(["toy", "dense", "other", "toy"])
    assert numbers == {"dense": 0, "other": 4, "toy": 5}
    assert style.kind_numbers(["other", "dense", "toy"]) == numbers
    known = range(len(style.KINDS))
    for i in (4, 5):
        assert style.points(i)["marker"] not in {style.points(k)["marker"] for k in known}
        assert style.points(i)["color"] not in {style.points(k)["color"] for k in known}


def test_scaling(runs: pd.DataFrame) -> None:
    used, excluded = split_usable(where(runs, runs["guide_ratio"].isna()))
    arms = fit_arms(used, excluded, Resampling(100))
    figure = kinds_figure(used, arms, None)
    assert [axes.get_title() for axes in figure.axes] == ["lowrank", "toy"]
    for kind in KINDS[1:]:
        drawn = [line for line in panel(figure, kind).get_lines() if line.get_linestyle() == "None"]
        assert [list(np.asarray(line.get_xdata())) for line in drawn] == [[1e12, 1e13]] * 2
    assert names(figure) == ["dense", "30%"]
    assert names(scaling_figure(used, arms)) == ["dense", "lowrank 30%", "toy 30%"]


def test_a_name_of_the_legend_has_one_look_in_all_panels(row: Row) -> None:
    """The second arm of each panel is another fraction: looks follow names, not places."""
    rows = [row(arm=arm, ffn_kind=arm.split()[0]) for arm in ("dense", "lowrank 63%", "toy 32%")]
    used, excluded = split_usable(run_table(pd.DataFrame(rows), "runs"))
    figure = kinds_figure(used, fit_arms(used, excluded), None)
    legend = dict(zip(names(figure), figure.legends[0].get_lines(), strict=True))
    assert list(legend) == ["dense", "63%", "32%"]
    for kind, name in (("lowrank", "63%"), ("toy", "32%")):
        assert panel(figure, kind).get_lines()[1].get_marker() == legend[name].get_marker()


def test_a_table_without_kinds_is_drawn_all_the_same(row: Row) -> None:
    rows = [row(size, "mine", ffn_kind="", train_flops=C) for size, C in (("s", 1e12), ("m", 1e13))]
    used, excluded = split_usable(run_table(pd.DataFrame(rows), "runs"))
    figure = kinds_figure(used, fit_arms(used, excluded), None)
    assert len(panel(figure, style.UNNAMED_KIND).get_lines()) == 2
    assert names(figure) == ["mine"]


def test_guided(runs: pd.DataFrame) -> None:
    figure = guided.guided_figure(guided.guided_points(runs), None)
    assert [axes.get_title() for axes in figure.axes] == ["lowrank", "toy"]
    for axes in figure.axes:
        assert [len(np.asarray(one.get_offsets())) for one in axes.collections] == [2, 2, 2]


def test_curves_of_all_runs(curves: pd.DataFrame) -> None:
    figure = curves_figure(curves)
    assert [len(axes.get_lines()) for axes in figure.axes] == [10, 10]
    assert "toy 30%" in names(figure)


def test_curves_of_the_largest_size(runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    figure = largest_figure(where(runs, runs["guide_ratio"].isna()), curves)
    assert [axes.get_title() for axes in figure.axes] == ["m, lowrank", "m, toy"]
    # Single batches and their running mean, of dense and of the kind.
    assert [len(axes.get_lines()) for axes in figure.axes] == [4, 4]


def test_dynamics(runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    figure = dynamics_figure(runs, curves)
    labels = [axes.get_ylabel().split("\n")[0] for axes in figure.axes]
    assert labels == ["lowrank", "toy"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [3, 3]


def timing(kind: str, fraction: float, width: int, tokens: int = 64) -> Timing:
    size = float(fraction * 8 * width**2)
    return Timing(kind, fraction, width, tokens, size, size * 1e-9, 8e-9 * width**2)


def test_latency() -> None:
    """By width, weights, tokens and fraction; also where a fraction is beyond the usual ones."""
    timings = [timing(kind, 0.63, width) for kind in KINDS[1:] for width in (128, 256)]
    timings += [timing("toy", 0.63, 128, tokens) for tokens in (8, 16)]
    timings += [timing("toy", 0.95, 128)]
    figure = latency_figure(Latencies(timings, "forward", "cpu"), None)
    assert names(figure) == list(KINDS)
    marker = style.points(len(style.KINDS))["marker"]
    for axes in figure.axes:
        (drawn,) = [line for line in axes.get_lines() if line.get_marker() == marker]
        assert len(np.asarray(drawn.get_xdata())) >= 2
    by_fraction = figure.axes[-1]
    assert by_fraction.get_xlim()[1] > 0.95


def test_published_latency() -> None:
    rows = [{"ffn_kind": kind, "ffn_fraction": 0.3, "speedup": 2.0} for kind in ("lowrank", "toy")]
    figure = published_figure(pd.DataFrame(rows))
    assert names(figure) == ["lowrank", "toy"]
    drawn = [line for line in figure.axes[0].get_lines() if line.get_marker() != "None"]
    counts = {line.get_marker(): len(np.asarray(line.get_xdata())) for line in drawn}
    assert counts[style.points(len(style.KINDS))["marker"]] == 1


def test_a_decoding_of_unknown_weights_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "decode.json"
    path.write_text(
        '{"model": {"hidden_dim": 4, "ffn_dim": 8, "ffn": {"kind": "toy"}},'
        ' "environment": {"hardware": "cpu"}, "ladder": []}'
    )
    with pytest.raises(RunTableError, match="weights of FFN kind 'toy' are not known"):
        load_latencies([path])


def test_spectra() -> None:
    """Of a kind whose initialization is not known, the trained values stand alone."""
    matrix = np.diag([3.0, 2.0, 1.0])
    shapes = {"s toy": Shape("toy", 3, 3), "s dense": Shape("dense", 3, 3)}
    figure = trained_figure({label: (shape, matrix) for label, shape in shapes.items()})
    assert [axes.get_title() for axes in figure.axes] == ["dense", "toy"]
    dense, toy = figure.axes
    assert len(dense.get_lines()) == 2
    (drawn,) = toy.get_lines()
    assert list(np.asarray(drawn.get_ydata())) == pytest.approx([3.0, 2.0, 1.0])
    legend = toy.get_legend()
    assert legend is not None and [one.get_text() for one in legend.get_texts()] == ["s toy"]
