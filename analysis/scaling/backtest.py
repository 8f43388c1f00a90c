"""Backtests: how a fit to the smaller runs would have forecast the larger ones."""

from dataclasses import dataclass

import numpy as np

from analysis.fitting.fit import FitError, logs_of
from analysis.scaling.arm import FittedArm
from analysis.uncertainty.bootstrap import Resampling, bootstrap

RESAMPLES = 400
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)  # fractions of the runs, the smallest, that are fitted


@dataclass(frozen=True)
class Backtest:
    """The forecast of the larger runs by a fit to the smaller ones only."""

    n_fitted: int
    n_foretold: int
    rms: float
    bias: float
    coverage: float  # fraction of the larger runs inside their intervals
    level: float


def backtest(arm: FittedArm, resampling: Resampling) -> list[Backtest]:
    """Refit to the smallest runs, for each of `CUTS`, and forecast the others.

    Cuts at which the smaller runs do not carry the law, or leave none to forecast, are left out.
    """
    found = []
    for cut in CUTS:
        count = round(cut * arm.table.n)
        try:
            refit = arm.refit_smallest(count)
        except FitError:
            continue
        larger = arm.by_size[count:]
        if not larger.size:
            continue
        draws = bootstrap(refit, Resampling(RESAMPLES, resampling.level, resampling.seed))
        targets = {name: arm.table.values[name][larger] for name in refit.law.variables}
        x = logs_of(refit.law, targets) - refit.centre[:, None]
        rng = np.random.default_rng(resampling.seed)
        drawn = draws.log_loss(x)
        drawn = drawn - rng.choice(refit.spread, drawn.shape)
        tail = 50 * (1 - resampling.level)
        low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
        truth = np.log(arm.table.loss[larger])
        errors = refit.law.log_loss(refit.theta[None], x)[0] - truth
        found.append(
            Backtest(
                n_fitted=count,
                n_foretold=larger.size,
                rms=float(np.sqrt((errors**2).mean())),
                bias=float(errors.mean()),
                coverage=float(((low <= truth) & (truth <= high)).mean()),
                level=resampling.level,
            )
        )
    return found
