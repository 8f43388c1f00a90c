"""Least absolute deviations: Huber's loss along a path of falling delta, then the exact vertex.

The objective sum |r| has a corner wherever a residual is zero, and its minimum is at such corners:
generically as many runs lie exactly on the law as it has free parameters. The path finds which;
Newton's method puts the law through them; the dual variables say whether no other choice is
better nearby: each of those runs must hold the law with a force of at most one.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.derivatives import Points, Problems, jacobian
from analysis.fitting.newton import Refined, refine
from analysis.laws.law import Array, Law

PATH = 10.0  # factor between deltas
STAGES = 7
ROUNDING = 1e-12  # error that rounding makes in the log of a loss


def refine_absolute(problems: Problems, theta: Array) -> Refined:
    """Minimize sum_i w_i |log L(x_i) - log_loss_i| of each problem from its row of theta [r, p].

    `gradient` of the result is how far the largest dual variable exceeds one, which is zero at a
    minimum; `converged` says that it does not by more than rounding.
    """
    law, points, weights = problems.law, problems.points, problems.weights
    residuals = law.log_loss(theta, points.x) - points.log_loss
    delta = max(float(np.median(np.abs(residuals).min(axis=0))), 1e-5)
    steps = 0
    for stage in range(STAGES):
        smoothed = replace(problems, delta=delta)
        done = refine(smoothed, theta, tol=10.0 ** (stage - 10), max_steps=60)
        theta, steps = done.theta, steps + done.steps
        delta /= PATH
    theta = theta.copy()
    objective = _sum_of_absolutes(law, theta, points, weights)
    excess = np.full(len(theta), np.inf)
    for row in range(len(theta)):
        own = weights[row] if weights is not None and weights.ndim == 2 else weights
        vertex, over = _vertex(law, theta[row], points, own, problems.free)
        value = _sum_of_absolutes(law, vertex[None], points, own)[0]
        if value <= objective[row] * (1 + 1e-9):
            theta[row], objective[row], excess[row] = vertex, value, over
    excess[objective <= ROUNDING * points.n] = 0.0  # exact data: there is nothing left to gain
    return Refined(theta, objective, excess, excess <= 1e-6, steps)


def _vertex(
    law: Law, theta: Array, points: Points, weights: Array | None, free: NDArray[np.bool_]
) -> tuple[Array, float]:
    """Put the law through the runs nearest to it; give the excess of its largest dual variable."""
    w = np.ones(points.n) if weights is None else weights
    q = int(free.sum())
    r = (law.log_loss(theta[None], points.x) - points.log_loss)[0]
    nearest = np.argsort(np.where(w > 0, np.abs(r), np.inf), kind="stable")[:q]
    theta = theta.copy()
    for _ in range(8):
        r, J = jacobian(law, theta, points)
        step = np.linalg.lstsq(J[nearest][:, free], -r[nearest], rcond=None)[0]
        theta[free] += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-13:
            break
    r, J = jacobian(law, theta, points)
    others = np.ones(points.n, bool)
    others[nearest] = False
    pull = (J[others][:, free] * (w * np.sign(r))[others, None]).sum(axis=0)
    force = np.linalg.lstsq(J[nearest][:, free].T, -pull, rcond=None)[0] / w[nearest]
    return theta, max(float(np.abs(force).max()) - 1, 0.0)


def _sum_of_absolutes(law: Law, theta: Array, points: Points, weights: Array | None) -> Array:
    r = np.abs(law.log_loss(theta, points.x) - points.log_loss)
    return (r if weights is None else r * weights).sum(axis=1)
