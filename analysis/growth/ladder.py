"""The losses of one arm at each of its budgets, and the FLOPs at which it has a loss between them.

Between neighbouring budgets the line is straight in logs, so no law has to hold over the whole
range; beyond them there is none. The mean of a budget has the error that its runs leave.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.laws.law import Array
from analysis.scaling.arm import FittedArm
from analysis.scaling.isoflop import budgets
from analysis.uncertainty.bootstrap import Resampling


@dataclass(frozen=True)
class Ladder:
    """Means of the logs of FLOPs [k], ascending, and of losses [k], and [r, k] resamples of
    those of losses."""

    log_flops: Array
    log_loss: Array
    drawn: Array

    def reaches(self, log_loss: float) -> bool:
        """Tell whether a loss lies between the highest and the lowest of the budgets."""
        return bool(self.log_loss.min() <= log_loss <= self.log_loss.max())

    def nearest(self, log_loss: float) -> float:
        """Move a loss to the nearest that the budgets reach."""
        return float(np.clip(log_loss, self.log_loss.min(), self.log_loss.max()))

    def log_loss_at(self, log_flops: float) -> float:
        """Find the mean log loss at a run's FLOPs."""
        return float(np.interp(log_flops, self.log_flops, self.log_loss))

    def log_flops_at(self, log_loss: float) -> tuple[float, Array]:
        """Find where the arm first has a loss that it reaches: log FLOPs, and [r] of resamples.

        A resample that does not reach it goes on along its last part.
        """
        value = _inverse(self.log_loss[None], self.log_flops, log_loss)
        return float(value[0]), _inverse(self.drawn, self.log_flops, log_loss)


def ladder_of(arm: FittedArm, resampling: Resampling) -> Ladder | None:
    """Make the ladder of an arm; None with one budget, or where its runs do not say how far the
    loss of one may be off.

    That is what seeds of one budget say, or else the misses of the arm's fitted line.
    """
    flops, losses = arm.table.values["flops"], np.log(arm.table.loss)
    groups = budgets(flops)
    if arm.noise is not None:
        sd, dof = arm.noise.sd, arm.noise.dof
    else:
        dof = arm.fit.n - arm.fit.n_free
        sd = math.sqrt(float(arm.fit.residuals @ arm.fit.residuals) / max(dof, 1))
    if len(groups) < 2 or dof < 1:
        return None
    mean = np.array([losses[rows].mean() for rows in groups])
    rng = np.random.default_rng(resampling.seed)
    spread = sd * np.sqrt(dof / rng.chisquare(dof, (resampling.resamples, 1)))
    errors = rng.standard_normal((resampling.resamples, mean.size))
    counts = np.array([rows.size for rows in groups])
    return Ladder(
        log_flops=np.array([np.log(flops[rows]).mean() for rows in groups]),
        log_loss=mean,
        drawn=mean + spread * errors / np.sqrt(counts),
    )


def _inverse(log_loss: Array, log_flops: Array, at: float) -> Array:
    """Solve for log FLOPs, [r], on lines of log losses [r, k]; not finite where a line is flat."""
    above = np.logical_and.accumulate(log_loss > at, axis=1).sum(axis=1)
    i = np.clip(above, 1, log_flops.size - 1)
    rows = np.arange(len(log_loss))
    before, after = log_loss[rows, i - 1], log_loss[rows, i]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (before - at) / (before - after)
    return log_flops[i - 1] + part * (log_flops[i] - log_flops[i - 1])
