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
from analysis.tables.curves import CURVES
from analysis.tables.errors import RunTableError
from analysis.tables.frames import column, sizes, where
from analysis.tables.latency import load_latencies
from analysis.tables.runs import split_usable, with_loss
from analysis.tables.spectra import trained_projection
from analysis.tables.study_tables import StudyTables, tables_of_files

LOSS = "val_loss"
RUNS = "a run table RUNS.csv"
WITH_CURVES = f"{RUNS}, with {CURVES} beside it"
Drawn = tuple[Figure, list[str]]


@dataclass(frozen=True)
class Plot:
    """A figure: what it shows, what it reads, and how it is drawn.

    A figure of runs has `of_study`, which is given the tables of a study; `takes_loss` says whether
    it is also given which column of losses to draw. One of other files, `fewest_files` to
    `most_files` of them, has `of_files`. Both return the figure with what makes its numbers
    doubtful, a sentence each. `published` draws what the paper published alone.
    """

    shows: str
    reads: str
    of_study: Callable[..., Drawn] | None = None
    of_files: Callable[[list[Path]], Drawn] | None = None
    published: Callable[[], Figure] | None = None
    published_note: str = ""
    fewest_files: int = 1
    most_files: float = 1
    takes_loss: bool = False

    def make(self, files: list[Path], loss: str = LOSS) -> Drawn:
        """Draw the figure from these files, and say what makes its numbers doubtful."""
        if self.of_study is None or len(files) < 1:
            assert self.of_files is not None
            return self.of_files(files)
        figure, told = self.make_of(tables_of_files(files), loss)
        return figure, [*told, *across_studies(files, loss)]

    def make_of(self, study: StudyTables, loss: str = LOSS) -> Drawn:
        """Draw a figure of runs from a study, and say what makes its numbers doubtful."""
        assert self.of_study is not None
        return self.of_study(study, loss) if self.takes_loss else self.of_study(study)

    def draw(self, files: list[Path]) -> Figure:
        """Draw the figure from these files."""
        return self.make(files)[0]


def _scaling(study: StudyTables, loss: str) -> Drawn:
    used, excluded = _unguided(study, loss)
    if used.empty:
        raise RunTableError(f"{study.source}: no unguided run has finished with a usable loss")
    overlay = _overlay(used) if loss == LOSS else None
    return scaling.kinds_figure(used, fit_arms(used, excluded), overlay, loss), cautions(used)


def _published_scaling() -> Figure:
    used, excluded = split_usable(published.scaling())
    return scaling.kinds_figure(used, fit_arms(used, excluded), None)


def _unguided(study: StudyTables, loss: str = LOSS) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = with_loss(study.runs, loss, study.source)
    return split_usable(where(runs, column(runs, "guide_ratio").isna()), study.source)


def _ungrown(runs: pd.DataFrame) -> pd.DataFrame:
    """Leave out the runs that grew: a figure of other roles would call them what they are not."""
    return where(runs, column(runs, "growth") == "")


def _overlay(used: pd.DataFrame) -> pd.DataFrame | None:
    """Give the published points if runs are of the paper's sizes and convention, else None."""
    paper = published.scaling()
    same_convention = set(used["flop_convention"]) == set(paper["flop_convention"])
    return paper if same_convention and set(sizes(used)) & set(paper["preset"]) else None


def _growth(study: StudyTables) -> Drawn:
    used, _ = split_usable(study.runs, study.source)
    return growth.growth_figure(used, study.curves, study.source), cautions(used)


def _rates(study: StudyTables, loss: str) -> Drawn:
    used, _ = _unguided(study, loss)
    figure = rates.rates_figure(used, study.source, loss)
    return figure, [*rates.edge_cautions(used), *cautions(used)]


def _guided(study: StudyTables) -> Drawn:
    used, _ = split_usable(_ungrown(study.runs), study.source)
    points = guided.guided_points(used)
    overlay = None if _overlay(used) is None else _published_guided_points()
    return guided.guided_figure(points, overlay), cautions(used)


def _published_guided_points() -> pd.DataFrame:
    return guided.published_points(published.scaling(), published.wide())


def _dynamics(study: StudyTables) -> Drawn:
    runs = _ungrown(study.runs)
    return curves.dynamics_figure(runs, study.needed_curves), cautions(runs)


def _largest(study: StudyTables) -> Drawn:
    used, _ = _unguided(study)
    return curves.largest_figure(used, study.needed_curves), cautions(used)


def _latency(files: list[Path]) -> Drawn:
    return latency.latency_figure(load_latencies(files), published.latency()), []


def _spectra(study: StudyTables) -> Drawn:
    if study.folder is None:
        raise RunTableError(
            f"{study.source}: it holds no weights; draw from the study's folder, with points/ in it"
        )
    used, _ = split_usable(study.runs, study.source)
    # One run of an arm and a size: the first seed.
    first = used.assign(size=sizes(used)).drop_duplicates(["arm", "size"])
    projections = {
        f"{row['size']} {row['arm']}": trained_projection(study.folder / "points" / row["point_id"])
        for row in first.to_dict("records")
    }
    return spectra.trained_figure(projections), cautions(used)


PLOTS: dict[str, Plot] = {
    "scaling": Plot(
        "validation loss against training FLOPs, a panel for each kind",
        f"{RUNS}; several: their studies beside each other",
        _scaling,
        published=_published_scaling,
        published_note=published.NOTE,
        most_files=math.inf,
        takes_loss=True,
    ),
    "guided": Plot(
        "self-guided training against more tokens at equal FLOPs: perplexity against tokens",
        RUNS,
        _guided,
        published=lambda: guided.guided_figure(None, _published_guided_points()),
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
        of_files=_latency,
        published=lambda: latency.published_figure(published.latency()),
        most_files=math.inf,
    ),
    "spectra": Plot(
        "singular values of the products, at initialization and after training",
        f"{RUNS} with points/ beside it; without a file, initialization alone",
        _spectra,
        lambda _: (spectra.initial_figure(), []),
        fewest_files=0,
    ),
    "schematic": Plot(
        "the four parametrizations",
        "no file",
        of_files=lambda _: (schematic.schematic_figure(), []),
        fewest_files=0,
        most_files=0,
    ),
}
