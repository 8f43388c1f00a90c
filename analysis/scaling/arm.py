"""One arm, fitted once; its intervals and checks are computed when first asked for, and kept.

Comparison, forecast, report and commands all read a `FittedArm`, so that no fit and no bootstrap is
done twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fitting.certificate import Certificate, certify
from analysis.fitting.fit import FitError, LawFit, Loss, fit_law
from analysis.fitting.huber import MAD_TO_SD
from analysis.laws.law import Law
from analysis.tables.table import Table, drop_highest
from analysis.uncertainty.bootstrap import Draws, Resampling, bootstrap, identify_draws
from analysis.uncertainty.seed_noise import SeedNoise, seed_noise

SUSPECT = 5.0  # robust standard deviations of a residual from which a run is named
MOST_BOUNDED = 0.05  # share of resamples at a bound from which it is said
SAME_FLOPS = 0.05  # difference of log FLOPs up to which runs of one size are of one length
HELD_OUT = 0.2  # fraction of the runs, the largest, that the hold-out keeps from the fit


@dataclass(frozen=True)
class Settings:
    """The law, estimator, rules and resampling of an arm's fit."""

    law: Law
    loss: Loss = "huber"
    delta: float | None = None
    E: float | None = None
    starts: int | None = None
    drop_highest: int = 0
    outliers: float | None = None  # robust standard deviations beyond which a run is left out
    resampling: Resampling | None = field(default_factory=Resampling)


@dataclass(frozen=True)
class HoldOut:
    """How a fit to the smaller runs misses the largest: log fitted loss minus log loss."""

    n_fitted: int
    n_held_out: int
    rms: float
    bias: float


@dataclass(frozen=True)
class FittedArm:
    """The rows of an arm that a law was fitted to, and the fit."""

    table: Table
    settings: Settings
    fit: LawFit
    _drawn: dict[object, Draws] = field(default_factory=dict, repr=False)
    _refitted: dict[int, LawFit] = field(default_factory=dict, repr=False)

    @cached_property
    def draws(self) -> Draws | None:
        """The resampled fits, drawn by training run; None where the settings ask for none."""
        resampling = self.settings.resampling
        return None if resampling is None else self.draw(resampling, self.table.group)

    def draw(
        self, resampling: Resampling, labels: Sequence[object] | ArrayLike | None = None
    ) -> Draws:
        """Resample the fit; rows of equal label are drawn together, or single rows without."""
        identity = identify_draws(self.fit, resampling, labels)
        if identity not in self._drawn:
            self._drawn[identity] = bootstrap(self.fit, resampling, labels)
        return self._drawn[identity]

    @cached_property
    def certificate(self) -> Certificate:
        """Whether the fit is the minimum, and which parameters the runs determine."""
        return certify(self.fit)

    def cautions(self, draws: Draws | None) -> list[str]:
        """Say what makes the fit doubtful, a sentence each; `draws` are those shown with it."""
        return [*self.table.cautions, *self._of_several_lengths(), *self.at_bound(draws)]

    def at_bound(self, draws: Draws | None) -> list[str]:
        """Say which parameters the runs do not determine because they or resamples are at a bound:
        one sentence, or none."""
        hit = self.certificate.bounds_hit
        share = 0.0 if draws is None else float(draws.bounded.mean())
        if not hit and share < MOST_BOUNDED:
            return []
        places = [
            f"{name} is {'at its bound of 0' if name in self.fit.at_bound else 'outside (0, 5]'}"
            for name in hit
        ]
        if share:
            places.append(f"{share:.0%} of the resamples have a parameter at a bound")
        beside_E = self.fit.law.variables == ("flops",) and "E" not in self.fit.held
        lost = "do not tell E from b" if beside_E else "leave the law's parameters open"
        return [f"{' and '.join(places)}: the runs {lost}"]

    def _of_several_lengths(self) -> list[str]:
        """Say that runs of several lengths share no curve of loss against FLOPs alone."""
        values = self.table.values
        if self.fit.law.variables != ("flops",) or self.table.n_sizes < 2:
            return []
        if not np.isfinite(values.get("params", np.nan)).all():
            return []
        params, flops = values["params"], values["flops"]
        several = [
            size for size in np.unique(params) if np.ptp(np.log(flops[params == size])) > SAME_FLOPS
        ]
        if not several:
            return []
        return [
            f"{len(several)} of {self.table.n_sizes} sizes have runs of several lengths: runs of "
            "several tokens a parameter lie on no one L(C); fit them by the law chinchilla, or "
            "those of one number of tokens a parameter"
        ]

    @cached_property
    def suspects(self) -> tuple[int, ...]:
        """Rows of the file whose residuals are beyond `SUSPECT` robust standard deviations."""
        return tuple(int(row) for row in self.table.row[_far(self.fit, SUSPECT)])

    @cached_property
    def noise(self) -> SeedNoise | None:
        """The spread of runs of one size; None where none repeat."""
        return seed_noise(self.fit)

    @cached_property
    def with_left_out(self) -> LawFit | None:
        """The fit that includes the usable runs that rules left out; None where there is none."""
        everything = self.table.with_left_out()
        try:
            return None if everything is None else fit_table(everything, self.settings)
        except FitError:
            return None

    @cached_property
    def by_size(self) -> NDArray[np.intp]:
        """[n] indices from the smallest run to the largest, by FLOPs or else by params x tokens."""
        values = self.table.values
        if "flops" in values:
            return np.argsort(values["flops"], kind="stable")
        product = np.sum([np.log(values["params"]), np.log(values["tokens"])], axis=0)
        return np.argsort(product, kind="stable")

    def refit_smallest(self, count: int) -> LawFit:
        """Fit the same law by the same estimator to the `count` smallest runs.

        Raises:
            FitError: they do not carry the law.
        """
        if count not in self._refitted:
            fit, rows = self.fit, self.by_size[:count]
            self._refitted[count] = fit_law(
                fit.law,
                {name: self.table.values[name][rows] for name in fit.law.variables},
                self.table.loss[rows],
                loss=fit.loss,
                delta=fit.delta if fit.loss == "huber" else None,
                E=fit.params["E"] if "E" in fit.held else None,
            )
        return self._refitted[count]

    @cached_property
    def hold_out(self) -> tuple[HoldOut | None, str]:
        """How a fit to the other runs misses the largest; None, and why, if they have no fit."""
        count = self.table.n - max(1, round(HELD_OUT * self.table.n))
        try:
            refit = self.refit_smallest(count)
        except FitError as error:
            return None, str(error)
        largest = self.by_size[count:]
        values = {name: self.table.values[name][largest] for name in self.fit.law.variables}
        errors = np.log(refit.predict(values)) - np.log(self.table.loss[largest])
        rms, bias = float(np.sqrt((errors**2).mean())), float(errors.mean())
        return HoldOut(count, largest.size, rms, bias), ""


def fit_arm(table: Table, settings: Settings) -> FittedArm:
    """Fit the rows of one arm.

    Raises:
        FitError: the rows do not carry the law, or a setting means nothing.
    """
    outliers = settings.outliers
    if outliers is not None and not outliers > 0:
        raise FitError(f"outliers beyond {outliers:g} robust s.d.: give a positive number")
    table = drop_highest(table, settings.drop_highest)
    fit = fit_table(table, settings)
    if outliers and (far := _far(fit, outliers)).any():
        rule = f"outlier: more than {outliers:g} robust s.d. from the first fit"
        table = table.exclude(far, rule)
        fit = fit_table(table, settings)
    return FittedArm(table, settings, fit)


def fit_table(table: Table, settings: Settings) -> LawFit:
    """Fit all rows of `table`. Raises FitError where they do not carry the law."""
    return fit_law(
        settings.law,
        table.values,
        table.loss,
        loss=settings.loss,
        delta=settings.delta,
        E=settings.E,
        starts=settings.starts,
    )


def _far(fit: LawFit, deviations: float) -> NDArray[np.bool_]:
    size = np.abs(fit.residuals)
    spread = MAD_TO_SD * float(np.median(size))
    return size > max(deviations * spread, 1e-12)
