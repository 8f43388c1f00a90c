"""The arms of a run table, fitted and compared, for the report and the figures.

Each arm is L(C) = E + a C^-b. Where every arm has FLOPs enough to bend, E is free and the loss is
Huber's; with fewer, runs cannot tell E from b, so E is held at 0 and the fit is least squares on
logs, whose resampled intervals are then Student's t. An arm whose runs are an isoFLOP design has no
such line; it has the best size of each budget instead.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.fitting.fit import FitError, Loss
from analysis.laws.law import Array
from analysis.laws.power import Chinchilla, ComputeLaw
from analysis.scaling.arm import FittedArm, Settings, fit_arm
from analysis.scaling.compare import Comparison, compare
from analysis.scaling.contender import Labels
from analysis.scaling.forecast import flops_factor
from analysis.scaling.isoflop import IsoFlop, is_isoflop_design, isoflop
from analysis.tables.frames import numbers, sizes, texts, where
from analysis.tables.table import Columns, Table, table_of
from analysis.uncertainty.bootstrap import Resampling

NO_LINE = "an isoFLOP design has no line of loss against FLOPs"
FREE_E_FROM = 8  # distinct training FLOPs of every arm from which E is left free by default
EXACT = 1e-24  # mean square of residuals below which they are rounding


@dataclass(frozen=True)
class Arm:
    """One arm: its rows and its fit, or why there is none."""

    name: str
    table: Table
    fitted: FittedArm | None
    why_not: str = ""
    isoflop: IsoFlop | None = None  # the minima of an isoFLOP design, which has no line

    @property
    def n_sizes(self) -> int:
        """Number of distinct sizes of models."""
        return self.table.n_sizes

    @property
    def n_flops(self) -> int:
        """Number of distinct training FLOPs."""
        return self.table.n_flops

    @property
    def dof(self) -> int:
        """Residual degrees of freedom."""
        return self.fitted.fit.n - self.fitted.fit.n_free if self.fitted else 0

    @property
    def is_exact(self) -> bool:
        """Whether the runs lie on the law to rounding, as training runs never do."""
        return self.fitted is not None and self.dof > 0 and self.fitted.fit.scale < EXACT

    @property
    def is_uncertain(self) -> bool:
        """Whether residuals say how far the runs determine the law."""
        return self.dof > 0 and not self.is_exact

    @property
    def interval(self) -> tuple[float, float] | None:
        """Percentile interval of b; None where residuals say nothing of it."""
        if self.fitted is None or self.fitted.draws is None or not self.is_uncertain:
            return None
        return self.fitted.draws.intervals["b"]

    def predict(self, flops: Array) -> Array:
        """Compute the law's loss at `flops`; the arm must have a fit."""
        assert self.fitted is not None
        return self.fitted.fit.predict({"flops": flops})

    def band(self, flops: Array) -> tuple[Array, Array] | None:
        """Compute the law's pointwise percentile band; None where residuals say nothing of it."""
        if self.fitted is None or self.fitted.draws is None or not self.is_uncertain:
            return None
        draws = self.fitted.draws
        x = np.log(flops)[None] - draws.fit.centre[:, None]
        tail = 50 * (1 - draws.level)
        low, high = np.exp(np.percentile(draws.log_loss(x), [tail, 100 - tail], axis=0))
        return low, high


@dataclass(frozen=True)
class Arms:
    """All arms in the table's order, and each against the reference, the first that has a spread.

    `E` is what E was held at, None where it was free; `why_not` says why nothing was compared.
    """

    E: float | None
    loss: Loss
    resampling: Resampling
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    why_not: str = ""

    def comparison(self, name: str) -> Comparison | None:
        """Find the comparison of this arm with the reference; None for the reference itself."""
        return next((one for one in self.comparisons if one.arm == name), None)


def fit_arms(
    used: pd.DataFrame, excluded: pd.DataFrame, resampling: Resampling | None = None
) -> Arms:
    """Fit every arm of `used` and compare each with the first.

    Args:
        used: the runs that enter, as `runs.split_usable` gives them.
        excluded: those that do not; where they have a loss, each fit is repeated with them.
        resampling: of all intervals; the defaults when absent.
    """
    resampling = resampling or Resampling()
    if used.empty:
        return Arms(0.0, "l2", resampling, (), (), "no run entered")
    tables = _tables(used, excluded)
    lines = {
        n: t for n, t in tables.items() if np.ptp(t.values["flops"]) and not is_isoflop_design(t)
    }
    E = default_E(lines or tables)
    loss = default_loss(E)
    settings = Settings(ComputeLaw(), loss, E=E, resampling=resampling)
    arms = tuple(_arm(name, table, settings) for name, table in tables.items())
    comparable = {arm.name: arm.fitted for arm in arms if arm.fitted and arm.is_uncertain}
    if len(comparable) < 2:
        why = "fewer than two arms have a line with a residual degree of freedom"
        return Arms(E, loss, resampling, arms, (), why)
    try:
        cells = cells_of(used, list(comparable))
        _, found = compare(comparable, next(iter(comparable)), cells=cells)
    except FitError as error:
        return Arms(E, loss, resampling, arms, (), str(error))
    return Arms(E, loss, resampling, arms, tuple(found))


def default_E(arms: dict[str, Table]) -> float | None:
    """Choose what E is held at: None (free) where every arm has FLOPs enough to bend, else 0."""
    return None if min(table.n_flops for table in arms.values()) >= FREE_E_FROM else 0.0


def default_loss(E: float | None) -> Loss:
    """Choose the loss function of arms whose E is held at `E`, None where it is free."""
    return "huber" if E is None else "l2"


def _arm(name: str, table: Table, settings: Settings) -> Arm:
    if is_isoflop_design(table):
        return Arm(name, table, None, NO_LINE, _isoflop(table, settings.resampling or Resampling()))
    try:
        return Arm(name, table, fit_arm(table, settings))
    except FitError as error:
        return Arm(name, table, None, str(error))


def _isoflop(table: Table, resampling: Resampling) -> IsoFlop:
    """Find the minima of an isoFLOP design, with the Chinchilla law beside if it is determined."""
    beside = None
    if np.isfinite(table.values["tokens"]).all():
        with suppress(FitError):
            fitted = fit_arm(table, Settings(Chinchilla(), resampling=resampling))
            beside = None if fitted.certificate.unidentified else fitted
    return isoflop(table, flops_factor(table.values), beside, resampling)


def _tables(used: pd.DataFrame, excluded: pd.DataFrame) -> dict[str, Table]:
    """Make a table of each arm; excluded rows that have a loss are those left out by rule."""
    usable = np.isin(excluded["arm"], used["arm"])
    usable &= np.asarray(excluded["flop_convention"] == used["flop_convention"].iloc[0])
    for name in ("val_loss", "train_flops"):
        usable &= np.isfinite(numbers(excluded, name)) & (numbers(excluded, name) > 0)
    frame = pd.concat([used.assign(reason=""), where(excluded, usable)], ignore_index=True)
    reasons = np.asarray(frame.pop("reason"), dtype=object)
    table = table_of(frame.drop(columns="status"), "run table", Columns(by="arm"), ("flops",))
    for reason in sorted(set(reasons) - {""}):
        table = table.exclude(reasons[table.row - 1] == reason, reason)
    return table.arms()


def cells_of(used: pd.DataFrame, arms: list[str]) -> dict[str, Labels] | None:
    """Name the sizes that pair the arms' runs; None unless every arm has each size once.

    A grown run's preset is that of its base; what it has in common with others is its last model.
    """
    grew = (texts(used, "growth") != "").any()
    named = used.assign(size=used["params"].map("{:.0f}".format) if grew else sizes(used))
    rows = {name: list(where(named, named["arm"] == name)["size"]) for name in arms}
    if any(len(set(one)) < len(one) or {"", "nan"} & set(one) for one in rows.values()):
        return None
    return {name: np.array(one, dtype=object) for name, one in rows.items()}
