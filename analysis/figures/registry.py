"""The figures that `python -m analysis plot` draws: a new figure is a file here and a row."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import curves, growth, guided, latency, rates, scaling, schematic, spectra
from analysis.scaling.arms import fit_arms
from analysis.tables import published
from analysis.tables.cautions import across_studies, cautions
from analysis.tables.curves import CURVES, curves_beside, load_curves
from analysis.tables.errors import RunTableError
from analysis.tables.frames import column, sizes, where
from analysis.tables.latency import load_latencies
from analysis.tables.runs import load_csv, load_studies, split_usable, with_loss
from analysis.tables.spectra import trained_projection

LOSS = "val_loss"
RUNS = "a run table RUNS.csv"
WITH_CURVES = f"{RUNS}, with {CURVES} beside it"
Drawn = tuple[Figure, list[str]]


@dataclass(frozen=True)
class Plot:
    """A figure: what it shows, what it reads, and how it is drawn.

    `make` is given the files, `fewest_files` to `most_files` of them, and returns the figure with
    what makes the numbers of its runs doubtful, a sentence each; `takes_loss` says whether it is
    also given which column of losses to draw. `published` draws what the paper published alone.
    """

    shows: str
    reads: str
    make: Callable[..., Drawn]
    published: Callable[[], Figure] | None = None
    published_note: str = ""
    fewest_files: int = 1
    most_files: float = 1
    takes_loss: bool = False

    def draw(self, files: list[Path]) -> Figure:
        """Draw the figure from these files."""
        return self.make(files)[0]


def _scaling(files: list[Path], loss: str = LOSS) -> Drawn:
    used, excluded = _unguided(files, loss)
    if used.empty:
        raise RunTableError(f"{files[0]}: no unguided run has finished with a usable loss")
    overlay = _overlay(used) if loss == LOSS else None
    figure = scaling.kinds_figure(used, fit_arms(used, excluded), overlay, loss)
    return figure, [*cautions(used), *across_studies(files, loss)]


def _published_scaling() -> Figure:
    used, excluded = split_usable(published.scaling())
    return scaling.kinds_figure(used, fit_arms(used, excluded), None)


def _unguided(files: list[Path], loss: str = LOSS) -> tuple[pd.DataFrame, pd.DataFrame]:
    source = ", ".join(map(str, files))
    runs = with_loss(load_studies(files), loss, source)
    return split_usable(where(runs, column(runs, "guide_ratio").isna()), source)


def _ungrown(runs: pd.DataFrame) -> pd.DataFrame:
    """Leave out the runs that grew: a figure of other roles would call them what they are not."""
    return where(runs, column(runs, "growth") == "")


def _overlay(used: pd.DataFrame) -> pd.DataFrame | None:
    """Give the published points if runs are of the paper's sizes and convention, else None."""
    paper = published.scaling()
    same_convention = set(used["flop_convention"]) == set(paper["flop_convention"])
    return paper if same_convention and set(sizes(used)) & set(paper["preset"]) else None


def _growth(files: list[Path]) -> Drawn:
    used, _ = split_usable(load_csv(files[0]), str(files[0]))
    return growth.growth_figure(used, curves_beside(files[0]), str(files[0])), cautions(used)


def _rates(files: list[Path], loss: str = LOSS) -> Drawn:
    used, _ = _unguided(files, loss)
    figure = rates.rates_figure(used, str(files[0]), loss)
    return figure, [*rates.edge_cautions(used), *cautions(used)]


def _guided(files: list[Path]) -> Drawn:
    used, _ = split_usable(_ungrown(load_csv(files[0])), str(files[0]))
    points = guided.guided_points(used)
    overlay = None if _overlay(used) is None else _published_guided_points()
    return guided.guided_figure(points, overlay), cautions(used)


def _published_guided_points() -> pd.DataFrame:
    return guided.published_points(published.scaling(), published.wide())


def _dynamics(files: list[Path]) -> Drawn:
    runs = _ungrown(load_csv(files[0]))
    return curves.dynamics_figure(runs, load_curves(files[0].with_name(CURVES))), cautions(runs)


def _largest(files: list[Path]) -> Drawn:
    used, _ = _unguided(files)
    return curves.largest_figure(used, load_curves(files[0].with_name(CURVES))), cautions(used)


def _latency(files: list[Path]) -> Drawn:
    return latency.latency_figure(load_latencies(files), published.latency()), []


def _spectra(files: list[Path]) -> Drawn:
    if not files:
        return spectra.initial_figure(), []
    used, _ = split_usable(load_csv(files[0]), str(files[0]))
    # One run of an arm and a size: the first seed.
    first = used.assign(size=sizes(used)).drop_duplicates(["arm", "size"])
    projections = {
        f"{row['size']} {row['arm']}": trained_projection(
            files[0].parent / "points" / row["point_id"]
        )
        for row in first.to_dict("records")
    }
    return spectra.trained_figure(projections), cautions(used)


PLOTS: dict[str, Plot] = {
    "scaling": Plot(
        "validation loss against training FLOPs, a panel for each kind",
        f"{RUNS}; several: their studies beside each other",
        _scaling,
        _published_scaling,
        published_note=published.NOTE,
        most_files=math.inf,
        takes_loss=True,
    ),
    "guided": Plot(
        "self-guided training against more tokens at equal FLOPs: perplexity against tokens",
        RUNS,
        _guided,
        lambda: guided.guided_figure(None, _published_guided_points()),
        published_note=published.NOTE,
    ),
    "growth": Plot(
        "grown runs against runs from scratch: validation loss against total training FLOPs",
        f"{WITH_CURVES}, or without: the runs' ends",
        _growth,
    ),
    "rates": Plot(
        "validation loss against learning rate by size: whether the best rate stays",
        RUNS,
        _rates,
        takes_loss=True,
    ),
    "dynamics": Plot(
        "training loss against step by kind and learning rate, with and without guidance",
        WITH_CURVES,
        _dynamics,
    ),
    "curves": Plot("training curves of the largest size, by kind", WITH_CURVES, _largest),
    "latency": Plot(
        "time of the FFN by width, parameters and tokens, and speed-ups",
        "BENCH files, the CSV of `python -m kernels bench latency`, or the JSON of "
        "`python -m workloads bench train` or `bench decode`",
        _latency,
        lambda: latency.published_figure(published.latency()),
        most_files=math.inf,
    ),
    "spectra": Plot(
        "singular values of the products, at initialization and after training",
        f"{RUNS} with points/ beside it; without a file, initialization alone",
        _spectra,
        fewest_files=0,
    ),
    "schematic": Plot(
        "the four parametrizations",
        "no file",
        lambda _: (schematic.schematic_figure(), []),
        fewest_files=0,
        most_files=0,
    ),
}
