"""The figures: what they show, in looks that can be told apart, in the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from analysis.figures import guided, scaling, schematic, style
from analysis.figures.style import COLOURS, LINES, MARKERS
from analysis.scaling.arms import fit_arms
from analysis.tables import published
from analysis.tables.errors import RunTableError
from analysis.tables.runs import run_table, split_usable

Row = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("noise", [0.001, 0.3])
def test_limits_hold_the_runs_and_not_the_band(
    ladder: Callable[..., pd.DataFrame], noise: float
) -> None:
    used, excluded = split_usable(ladder(noise=(noise, -noise, noise)))
    arms = fit_arms(used, excluded)
    figure = scaling.scaling_figure(used, arms)
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    losses = np.log(used["val_loss"])
    assert np.log(low) < losses.min() and losses.max() < np.log(high)
    assert np.log(high / low) < 2 * np.ptp(losses)
    assert "paper convention" in axes.get_xlabel()
    assert "nats per token" in axes.get_ylabel()
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [arm.name for arm in arms.arms]
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


def test_the_papers_figure_has_a_panel_for_each_kind() -> None:
    used, excluded = split_usable(published.scaling())
    figure = scaling.kinds_figure(used, fit_arms(used, excluded), None)
    assert [axes.get_title() for axes in figure.axes] == ["lowrank", "blockdense", "blockshuffle"]
    # A line and points for each of three arms; of the block kinds one point has no line.
    assert [len(axes.get_lines()) for axes in figure.axes] == [6, 4, 4]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "63%", "32%"]


def test_published_points_lie_hollow_beside_our_own(row: Row) -> None:
    ours = [
        row("transformer-s", "lowrank 62%", ffn_fraction=0.656, train_flops=1.4e18),
        row("transformer-s", ffn_fraction=1, train_flops=1.7e18),
    ]
    used, excluded = split_usable(run_table(pd.DataFrame(ours), "ours"))
    figure = scaling.kinds_figure(used, fit_arms(used, excluded), published.scaling())
    lines = figure.axes[0].get_lines()
    hollow = [line for line in lines if line.get_markerfacecolor() == "white"]
    assert [len(np.asarray(line.get_xdata())) for line in hollow] == [4, 4]
    assert "hollow: arXiv 2406.16450" in figure.legends[0].get_title().get_text()


def test_guided_runs_are_compared_at_the_dense_models_flops(row: Row) -> None:
    runs = [
        row("s"),
        row("s", "more", point_id="a", train_flops=1.01e12, tokens=1.6e6),
        row("s", "guided", point_id="b", guide_ratio=0.4, train_flops=0.99e12),
        row("s", "same tokens", point_id="c", train_flops=0.7e12),
        row("m", "no dense", point_id="d", train_flops=1e12),
    ]
    points = guided.guided_points(run_table(pd.DataFrame(runs), "runs"))
    assert dict(zip(points["arm"], points["role"], strict=True)) == {
        "dense": "dense",
        "more": "more tokens",
        "guided": "self-guided",
    }
    assert points["perplexity"].to_numpy() == pytest.approx(np.exp(2.5))
    figure = guided.guided_figure(points, None)
    bubbles = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    assert [float(np.max(one.get_sizes())) for one in bubbles] == [guided.LARGEST] * 3


def test_without_runs_of_equal_flops_the_remedy_is_named(row: Row) -> None:
    runs = run_table(pd.DataFrame([row("s"), row("s", "short", train_flops=0.5e12)]), "runs")
    with pytest.raises(RunTableError, match="fixed_flops"):
        guided.guided_points(runs)


def test_same_figure_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        style.save(schematic.schematic_figure(), tmp_path / name / "schematic")
    for suffix in (".svg", ".pdf", ".png"):
        first, second = (tmp_path / name / f"schematic{suffix}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_the_schematic_names_every_kind_and_its_weights() -> None:
    figure = schematic.schematic_figure()
    assert [axes.get_title() for axes in figure.axes] == list(style.KINDS)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    for weights in ("N M", "(N + M) R", "R (M + N/B)", "min(N, M) (N + M)/B"):
        assert any(f"{weights} weights" in text for text in texts)
