"""The figures of a study: every row of the figure registry that is drawn from runs is a method."""

from collections.abc import Callable

from matplotlib.figure import Figure

from analysis.figures.registry import LOSS, PLOTS, Plot
from analysis.notebooks.errors import one_line_errors
from analysis.report.sections import Section
from analysis.report.shown import Shown
from analysis.tables.errors import nearest
from analysis.tables.study_tables import StudyTables

OF_STUDY = {name: plot for name, plot in PLOTS.items() if plot.of_study is not None}


class Plots(Shown):
    """The figures that can be drawn of a study: `study.plot.scaling()` returns a Figure."""

    def __init__(self, study: StudyTables) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        if name not in OF_STUDY:
            known = ", ".join(OF_STUDY)
            raise AttributeError(f"no figure {name!r}{nearest(name, OF_STUDY)}; one of {known}")
        return _method(name, OF_STUDY[name], self._study)

    def __dir__(self) -> list[str]:
        return [*OF_STUDY]

    @property
    def lines(self) -> list[str]:
        """What a terminal shows: each figure and what it shows."""
        return [f"{name:<10} {plot.shows}" for name, plot in OF_STUDY.items()]

    @property
    def sections(self) -> list[Section]:
        """A row a figure."""
        rows = [(f"plot.{name}()", plot.shows) for name, plot in OF_STUDY.items()]
        return [Section("figures", "Figures", "", {"figure": False, "shows": False}, rows)]


def _method(name: str, plot: Plot, study: StudyTables) -> Callable[..., Figure]:
    """Make the function that draws one figure."""

    @one_line_errors
    def draw() -> Figure:
        return plot.make_of(study)[0]

    @one_line_errors
    def draw_loss(loss_col: str | None = None) -> Figure:
        return plot.make_of(study, loss_col or LOSS)[0]

    drawing: Callable[..., Figure] = draw_loss if plot.takes_loss else draw
    drawing.__name__ = name
    drawing.__doc__ = f"Draw {plot.shows}."
    return drawing
