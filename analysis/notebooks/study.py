"""A study in a notebook: its runs, and the verbs of `python -m analysis` as methods.

What a method returns shows itself, as tables in a notebook and as the command's lines in a
terminal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from analysis.fitting.fit import FitError
from analysis.notebooks.errors import one_line_errors
from analysis.notebooks.overview import overview_section
from analysis.notebooks.plots import Plots
from analysis.report.report import Report, write_report
from analysis.report.sections import Section
from analysis.report.shown import Shown
from analysis.scaling.arm import Settings
from analysis.scaling.arms import cells_of
from analysis.scaling.contender import Labels
from analysis.tables.cautions import cautions
from analysis.tables.runs import split_usable, with_loss
from analysis.tables.study_tables import StudyTables
from analysis.tables.table import Columns, Table, table_of
from analysis.uncertainty.bootstrap import Resampling
from analysis.verbs.choices import check_target, law_named, loss_named, read_target, resampling_of
from analysis.verbs.compare import Compared, compare_arms, paired_by, settings_of
from analysis.verbs.fit import Fits, fit_each
from analysis.verbs.growth import GrowthFound, growth_of
from analysis.verbs.isoflop import NEEDS, Minima, minima
from analysis.verbs.predict import Predictions, check_budgets, predict

COMPUTE, CHINCHILLA, FREE = "compute", "chinchilla", "free"
HeldE = float | Literal["free"] | None
Target = str | Mapping[str, float]


class Study(Shown):
    """A study that was loaded: `runs`, `curves`, the verbs, and `plot` with the figures.

    `used` are the runs that enter fits; `excluded` are the others, each with its `reason`.
    """

    def __init__(self, tables: StudyTables) -> None:
        self._tables = tables
        self.runs = tables.runs
        self.used, self.excluded = split_usable(tables.runs, tables.source)

    @property
    def name(self) -> str:
        """The name that its runs have, else that of its folder."""
        named = [name for name in dict.fromkeys(self.runs["study"]) if name]
        folder = self._tables.folder
        return " and ".join(named) or (folder.absolute().name if folder else "study")

    @property
    def source(self) -> str:
        """Where the runs come from."""
        return self._tables.source

    @property
    def curves(self) -> pd.DataFrame | None:
        """The training curves, a row a recorded step; None where they are not at hand."""
        return one_line_errors(lambda: self._tables.curves)()

    @cached_property
    def plot(self) -> Plots:
        """The figures: `study.plot.scaling()`; the object itself lists them."""
        return Plots(self._tables)

    @one_line_errors
    def fit(
        self,
        law: str = COMPUTE,
        *,
        by: str | None = "arm",
        e: HeldE = None,
        loss: str | None = None,
        delta: float | None = None,
        drop_highest: int = 0,
        outliers: float | None = None,
        starts: int | None = None,
        loss_col: str | None = None,
        bootstrap: int = 4000,
        seed: int = 0,
        level: float = 0.95,
    ) -> Fits:
        """Fit a scaling law to each arm, with intervals: `python -m analysis fit`.

        Args:
            law: compute, chinchilla or another of `analysis.LAWS`.
            by: the column whose values are fitted apart; None fits all runs as one.
            e: hold E at this loss; "free" fits it. Left out, E of law compute is chosen as in the
                report: free from 8 different FLOPs an arm, else 0; that of other laws is free.
            loss: of log residuals: huber, l1 or l2. Left out, l2 where E is chosen as 0, else
                huber.
            delta: Huber's delta; left out, 1.345 robust standard deviations of the residuals.
            drop_highest: leave out so many highest losses of an arm.
            outliers: leave out runs this many robust standard deviations from a first fit.
            starts: grid cells refined; left out, the law's.
            loss_col: fit this column of losses, such as bits_per_byte.
            bootstrap: resamples for intervals; 0 for none.
            seed: of the resamples.
            level: of the intervals.

        Raises:
            StudyError: no arm can be fitted, or an option means nothing.
        """
        chosen, drawn = law_named(law), Resampling(bootstrap, level, seed) if bootstrap else None
        table = self._table(chosen.variables, by, loss_col)
        settings = _settings(table, law, e, loss, delta, drawn)
        rules = {"starts": starts, "drop_highest": drop_highest, "outliers": outliers}
        return fit_each(table, replace(settings, **rules))

    @one_line_errors
    def compare(
        self,
        reference: str | None = None,
        *,
        by: str = "arm",
        pair_col: str | None = None,
        at: Sequence[float] = (),
        extrapolate: bool = False,
        e: HeldE = None,
        loss: str | None = None,
        delta: float | None = None,
        loss_col: str | None = None,
        bootstrap: int = 4000,
        seed: int = 0,
        level: float = 0.95,
    ) -> Compared:
        """Compare arms with a reference, the first if none is named: `python -m analysis compare`.

        Args:
            reference: the arm to compare with.
            by: the column that names the arms.
            pair_col: the column whose equal values pair runs of two arms; left out, runs of equal
                size are paired where every arm has each size once, as in the report.
            at: FLOPs at which to state slopes and gains; left out, the middle of the losses that
                both reached.
            extrapolate: go beyond losses that both reached, marked.

        The other arguments are those of `fit` with law compute.

        Raises:
            StudyError: an arm cannot be fitted, there is no such reference, or only one arm.
        """
        drawn = resampling_of(bootstrap, seed, level, "a comparison")
        table = self._table(("flops",), by, loss_col)
        settings = _settings(table, COMPUTE, e, loss, delta, drawn)
        cells = self._cells(table) if pair_col is None else paired_by(table, pair_col)
        return compare_arms(table, settings, reference, tuple(at), cells, extrapolate)

    @one_line_errors
    def predict(
        self,
        at: Target | Sequence[Target] = (),
        *,
        optimal_at: float | Sequence[float] = (),
        law: str | None = None,
        by: str | None = "arm",
        e: HeldE = None,
        loss: str | None = None,
        delta: float | None = None,
        drop_highest: int = 0,
        loss_col: str | None = None,
        bootstrap: int = 4000,
        seed: int = 0,
        level: float = 0.95,
    ) -> Predictions:
        """Predict losses at targets, and the best split of budgets: `python -m analysis predict`.

        Args:
            at: a target or several: {"flops": 1e15}, or {"params": 7e9, "tokens": 1e12}; also as
                the command line writes it, "params=7e9,tokens=1e12".
            optimal_at: FLOPs to split into parameters and tokens for the lowest loss.
            law: left out, compute where the target is FLOPs, else chinchilla.

        The other arguments are those of `fit`. What is beyond the runs is marked with how far.

        Raises:
            StudyError: a target means nothing, or an arm cannot be fitted.
        """
        given = [at] if isinstance(at, str | Mapping) else list(at)
        targets = [read_target(one) if isinstance(one, str) else dict(one) for one in given]
        budgets = [*optimal_at] if isinstance(optimal_at, Sequence) else [float(optimal_at)]
        if law is None:
            law = COMPUTE if targets and set(targets[0]) == {"flops"} else CHINCHILLA
        chosen, drawn = law_named(law), resampling_of(bootstrap, seed, level, "a prediction")
        targets = [check_target(one, chosen) for one in targets]
        check_budgets(targets, budgets)
        table = self._table(chosen.variables, by, loss_col)
        settings = _settings(table, law, e, loss, delta, drawn)
        return predict(table, replace(settings, drop_highest=drop_highest), targets, budgets)

    @one_line_errors
    def isoflop(
        self,
        *,
        by: str | None = "arm",
        law: str = CHINCHILLA,
        loss: str = "huber",
        delta: float | None = None,
        drop_highest: int = 0,
        loss_col: str | None = None,
        bootstrap: int = 4000,
        seed: int = 0,
        level: float = 0.95,
    ) -> Minima:
        """Find the best size at each budget, and how it grows: `python -m analysis isoflop`.

        The arguments are those of `fit`; `law` is the parametric law beside the minima.

        Raises:
            StudyError: no budget of an arm has a minimum inside its sizes.
        """
        drawn = resampling_of(bootstrap, seed, level, "isoflop")
        table = self._table(NEEDS, by, loss_col)
        settings = _settings(table, law, FREE, loss, delta, drawn)
        return minima(table, replace(settings, drop_highest=drop_highest))

    @one_line_errors
    def growth(self, *, bootstrap: int = 4000, seed: int = 0, level: float = 0.95) -> GrowthFound:
        """Say whether growing a small model paid: `python -m analysis growth`.

        Raises:
            StudyError: none of the runs grew.
        """
        drawn = resampling_of(bootstrap, seed, level, "a gain")
        return growth_of(self.runs, self._tables.curves, drawn, self.source)

    @one_line_errors
    def report(self, out: str | Path) -> Report:
        """Write the report to a folder, made if absent: `python -m analysis report`.

        Raises:
            StudyError: the curves beside the run table cannot be read.
        """
        return write_report(self.runs, Path(out), self.name, self._tables.curves, self.source)

    @property
    def cautions(self) -> list[str]:
        """What about the runs makes the numbers doubtful."""
        return cautions(self.used)

    @property
    def lines(self) -> list[str]:
        """What a terminal shows."""
        (section,) = self.sections
        rows = [
            ", ".join(f"{header} {cell}" for header, cell in zip(section.headers, row, strict=True))
            for row in section.rows
        ]
        told = [f"caution: {text}" for text in self.cautions]
        return [section.title, *(f"  {row}" for row in rows), section.note, *told]

    @property
    def sections(self) -> list[Section]:
        """A row an arm: its runs by status, its sizes, losses and FLOPs."""
        return [overview_section(self.name, self.source, self.runs, self.used, self.excluded)]

    def _table(self, needs: tuple[str, ...], by: str | None, loss_col: str | None) -> Table:
        runs = self.runs if loss_col is None else with_loss(self.runs, loss_col, self.source)
        return table_of(runs, self.source, Columns(by=by), needs)

    def _cells(self, table: Table) -> dict[str, Labels] | None:
        """Pair the arms' runs of equal size, where every arm has each size once."""
        entered = self.runs.iloc[table.row - 1].assign(arm=table.arm)
        return cells_of(entered, list(table.arms()))


def _settings(
    table: Table,
    law: str,
    e: HeldE,
    loss: str | None,
    delta: float | None,
    resampling: Resampling | None,
) -> Settings:
    """Choose E and the loss function where they are not given."""
    if isinstance(e, str) and e != FREE:
        raise FitError(f"--e {e!r}: give a loss to hold E at, or {FREE!r}")
    chosen, estimator = law_named(law), None if loss is None else loss_named(loss)
    if e is None and law == COMPUTE:
        return settings_of(table, None, estimator, delta, resampling)
    held = None if isinstance(e, str) else e
    return Settings(chosen, estimator or "huber", delta, E=held, resampling=resampling)
