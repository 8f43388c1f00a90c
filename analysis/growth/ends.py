"""The gain of grown arms over the scratch arm, from the losses that runs ended with.

An arm's loss is a line of FLOPs; the gain is how many times the arm's FLOPs the scratch arm needs
for the same loss, by the pipeline of all comparisons (`scaling.arms`, `scaling.compare`). It is
counted twice. The whole bill has the FLOPs of the base on it. The target phase alone leaves them
out, as papers on growth count: then the base was free. Both counts are at the same loss.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.fitting.fit import FitError
from analysis.growth.ladder import Ladder, ladder_of
from analysis.growth.series import Family, Series
from analysis.laws.law import Array
from analysis.scaling.arm import FittedArm, fit_arm
from analysis.scaling.arms import Arm, Arms, cells_of, fit_arms
from analysis.scaling.compare import Comparison, compare, log_flops_at
from analysis.tables.frames import numbers
from analysis.uncertainty.bootstrap import Estimate, Resampling

NO_BASE = "base_train_flops is empty"


@dataclass(frozen=True)
class EndsGain:
    """The gain of one grown arm over one series; None where `why_not` says why."""

    scratch: str
    arm: str
    over: str  # name of the series
    runs: int
    loss: float | None = None  # at which the gain is stated
    whole: Estimate | None = None
    target: Estimate | None = None
    one_seed: bool = False  # no size repeats, so a miss of the line stands for chance
    why_not: str = ""
    why_no_target: str = ""


@dataclass(frozen=True)
class FittedSeries:
    """A series, the fits of its arms, and the gains of its grown arms."""

    series: Series
    arms: Arms
    gains: tuple[EndsGain, ...]

    @property
    def at_one_size(self) -> bool:
        """Whether the runs differ in length alone."""
        return len(set(self.series.runs["params"])) == 1

    def run_gain(self, scratch: str, run: dict[str, Any]) -> tuple[float, float, Array] | None:
        """Read the gain of one grown run off the scratch arm's ladder; None where it does not tell.

        Where that does not reach the run's loss, the gain is that at the nearest loss that it
        reaches: the run is moved there along the ladder of its own arm, as far above or below it
        as it is.

        Returns:
            ln(gain); the logarithm of how many times as long the moved run is; and [r] resamples
            of the ladders' part in ln(gain), less its estimate.
        """
        line, own = self._ladder(scratch), self._ladder(run["arm"])
        if line is None:
            return None
        log_loss, log_flops = math.log(run["val_loss"]), math.log(run["train_flops"])
        at = line.nearest(log_loss)
        needed, drawn = line.log_flops_at(at)
        if at == log_loss:
            return needed - log_flops, 0.0, drawn - needed
        if own is None:
            return None
        mean = at - (log_loss - own.log_loss_at(log_flops))
        if not own.reaches(mean):
            return None
        moved, drawn_moved = own.log_flops_at(mean)
        return needed - moved, moved - log_flops, (drawn - drawn_moved) - (needed - moved)

    def _ladder(self, name: str) -> Ladder | None:
        """Make the ladder of an arm, its resamples drawn apart from those of others."""
        arm, drawn = _named(self.arms, name), self.arms.resampling
        if arm is None or arm.fitted is None:
            return None
        number = self.arms.arms.index(arm)
        return ladder_of(arm.fitted, replace(drawn, seed=drawn.seed + 7919 * (number + 1)))


def fit_series(family: Family, series: Series, resampling: Resampling) -> FittedSeries:
    """Fit the arms of a series and measure each grown arm's gain."""
    arms = fit_arms(series.runs, series.runs.head(0).assign(reason=""), resampling)
    present = set(series.runs["arm"])
    gains = [_gain(family, series, arms, name) for name in family.grown if name in present]
    return FittedSeries(series, arms, tuple(gains))


def _gain(family: Family, series: Series, arms: Arms, name: str) -> EndsGain:
    arm, scratch = _named(arms, name), _named(arms, family.scratch)
    assert arm is not None
    found = EndsGain(family.scratch, name, series.name, arm.table.n)
    if why := _no_line(family.scratch, scratch) or _no_line(name, arm):
        return replace(found, why_not=why)
    assert scratch is not None and scratch.fitted is not None and arm.fitted is not None
    comparison = arms.comparison(name)
    if comparison is None or comparison.reference != scratch.name:
        return replace(found, why_not=arms.why_not or f"{scratch.name} is not the first arm")
    if not comparison.slopes:
        return replace(found, why_not=_apart(scratch, arm))
    flops = comparison.slopes[0].flops
    loss = float(arm.predict(np.array([flops]))[0])
    found = replace(
        found,
        loss=loss,
        whole=_stated(comparison),
        one_seed=arm.table.n == arm.n_flops,
    )
    target, why = _target_gain(series, arm.fitted, scratch.fitted, comparison, loss)
    return replace(found, target=target, why_no_target=why)


def _target_gain(
    series: Series, arm: FittedArm, scratch: FittedArm, whole: Comparison, loss: float
) -> tuple[Estimate | None, str]:
    """Measure the gain of the target phase alone at the same loss; None, and why, if there is none.

    The base's FLOPs are not a fixed part of a run's, so the arm's line is fitted again.
    """
    table = arm.table
    base = numbers(table.file.frame, "base_train_flops")[table.row - 1]
    if np.isnan(base).any():
        return None, NO_BASE
    flops = table.values["flops"] - base
    names = [whole.reference, whole.arm]
    try:
        alone = fit_arm(
            replace(table, values={**table.values, "flops": flops}, left_out=None), arm.settings
        )
        centre = float(alone.fit.centre[0])
        at = math.exp(log_flops_at(alone.fit.theta[None], np.log([loss]), centre)[0])
        cells = cells_of(series.runs, names) if whole.paired else None
        fitted = dict(zip(names, (scratch, alone), strict=True))
        _, (found,) = compare(fitted, whole.reference, (at,), cells, extrapolate=True)
    except (FitError, OverflowError) as error:
        return None, str(error)
    return next(one.gain for one in found.gains if one.flops == at), ""


def _named(arms: Arms, name: str) -> Arm | None:
    return next((arm for arm in arms.arms if arm.name == name), None)


def _stated(comparison: Comparison) -> Estimate:
    flops = comparison.slopes[0].flops
    return next(at.gain for at in comparison.gains if at.flops == flops)


def _no_line(name: str, arm: Arm | None) -> str:
    """Say why an arm carries no line with an interval; nothing where it does."""
    if arm is None:
        return f"{name} has no run here"
    if arm.n_flops == 1:
        return f"the runs of {name} are of one budget, which makes no line"
    if arm.fitted is None:
        return f"{name}: {arm.why_not}"
    if arm.is_exact:
        return f"{name} lies on its line to rounding"
    if not arm.is_uncertain:
        return f"{arm.table.n} runs of {name} leave no residual degree of freedom; add one"
    return ""


def _apart(scratch: Arm, arm: Arm) -> str:
    """Say that two arms reached no common loss, and in which direction they differ."""
    ours, theirs = arm.table.loss, scratch.table.loss
    remedy = "longer runs from scratch" if ours.max() < theirs.max() else "longer grown runs"
    return (
        f"no common loss: {arm.name} ended at {ours.min():.4g} to {ours.max():.4g}, "
        f"{scratch.name} at {theirs.min():.4g} to {theirs.max():.4g}; nothing is extrapolated, "
        f"{remedy} would tell"
    )
