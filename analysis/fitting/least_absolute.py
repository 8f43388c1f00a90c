"""Least absolute deviations: Huber's loss along a path of falling delta, then the exact vertex.

The objective sum |r| has a corner wherever a residual is zero, and its minimum is at such corners:
generically as many runs lie exactly on the law as it has free parameters. The path comes near. Then
runs are exchanged on the linearized law, as the simplex method does (Barrodale and Roberts 1973):
each run on the law must hold it with a force, its dual variable, of at most one; a run that would
need more leaves, and the run at which the sum is lowest on the way enters. Newton's method repeats
that until the law, which is no line, goes through them.
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
DUAL_TOL = 1e-6  # excess of a dual variable over one that still counts as none
NEWTON_STEPS = 12
EXCHANGES = 100  # of runs at one linear law
DEPENDENT = 1e-9  # part of a row that the rows chosen before must leave


def refine_absolute(problems: Problems, theta: Array) -> Refined:
    """Minimize sum_i w_i |log L(x_i) - log_loss_i| of each problem from its row of theta [r, p].

    `gradient` of the result is how far the largest dual variable exceeds one, which is zero at a
    minimum; `converged` says that it does not by more than rounding.
    """
    law, points, weights = problems.law, problems.points, problems.weights
    rounding = points.n * problems.rounding
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
        vertex, over = _vertex(law, theta[row], points.of(row), own, problems.free)
        value = _sum_of_absolutes(law, vertex[None], points.of(row), own)[0]
        if value <= objective[row] * (1 + 1e-9) + rounding:
            theta[row], objective[row], excess[row] = vertex, value, over
    excess[objective <= ROUNDING * points.n] = 0.0  # exact data: there is nothing left to gain
    noise = np.full(len(theta), rounding)
    return Refined(theta, objective, excess, noise, excess <= DUAL_TOL, steps)


def _vertex(
    law: Law, theta: Array, points: Points, weights: Array | None, free: NDArray[np.bool_]
) -> tuple[Array, float]:
    """Put the law through the best runs near it; give the excess of the largest dual variable."""
    w = np.ones(points.n) if weights is None else weights
    theta, moved = theta.copy(), np.flatnonzero(free)
    basis: NDArray[np.intp] | None = None
    excess = np.inf
    for _ in range(NEWTON_STEPS):
        r, J = jacobian(law, theta, points)
        if not np.isfinite(r).all() or not np.isfinite(J).all():  # a step too far
            return theta, np.inf
        if basis is None:
            moved = moved[_determined(J[:, moved])]
            basis = _independent(J[:, moved], np.where(w > 0, np.abs(r), np.inf))
        J = J[:, moved]
        if not moved.size:
            return theta, 0.0
        if basis.size < moved.size:
            return theta, np.inf
        before = basis
        basis, step, excess = _exchange(J, r, w, basis)
        theta[moved] += np.clip(step, -1, 1)
        if np.array_equal(basis, before) and np.abs(step).max(initial=0) < 1e-13:
            break
    return theta, excess


def _determined(J: Array) -> NDArray[np.intp]:
    """Choose parameters that act on the law, each in a way that the others do not."""
    acting = np.flatnonzero(np.abs(J).max(axis=0) > DEPENDENT)
    return acting[np.sort(_independent(J[:, acting].T, np.zeros(acting.size)))]


def _independent(J: Array, distance: Array) -> NDArray[np.intp]:
    """Choose the nearest runs whose rows of J are linearly independent, as many as there can be."""
    chosen: list[int] = []
    left = J / np.maximum(np.linalg.norm(J, axis=0), 1e-300)
    size = np.linalg.norm(left, axis=1)
    for i in np.argsort(distance, kind="stable"):
        if len(chosen) == J.shape[1] or not np.isfinite(distance[i]):
            break
        length = np.linalg.norm(left[i])
        if length > DEPENDENT * size[i]:
            chosen.append(int(i))
            direction = left[i] / length
            left = left - np.outer(left @ direction, direction)
    return np.array(chosen, dtype=np.intp)


def _exchange(
    J: Array, r: Array, w: Array, basis: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Array, float]:
    """Minimize sum_i w_i |r_i + J_i step| from the step at which the runs of `basis` are zero.

    Returns:
        The runs that are zero at the minimum, the step, and by how much the largest dual variable
        exceeds one, which is zero unless the exchanges ran out.
    """
    basis, step, excess = basis.copy(), np.zeros(J.shape[1]), np.inf
    for _ in range(EXCHANGES):
        inverse = np.linalg.pinv(J[basis])
        step = -inverse @ r[basis]
        e = r + J @ step
        e[basis] = 0
        force = -(w * np.sign(e)) @ J @ inverse / w[basis]
        worst = int(np.abs(force).argmax())
        excess = max(float(abs(force[worst])) - 1, 0.0)
        if excess <= DUAL_TOL:
            break
        # Along `change` the worst run leaves zero and the others of the basis stay.
        change = J @ inverse[:, worst] * np.sign(force[worst])
        change[basis] = 0
        with np.errstate(all="ignore"):
            reach = -e / change
        ahead = np.flatnonzero((reach > 0) & np.isfinite(reach) & (w > 0))
        ahead = ahead[np.argsort(reach[ahead], kind="stable")]
        slope = -w[basis[worst]] * excess + 2 * np.cumsum(w[ahead] * np.abs(change[ahead]))
        turning = int(np.searchsorted(slope, 0.0))
        if turning == ahead.size:
            break
        basis[worst] = ahead[turning]
    return basis, step, excess


def _sum_of_absolutes(law: Law, theta: Array, points: Points, weights: Array | None) -> Array:
    r = np.abs(law.log_loss(theta, points.x) - points.log_loss)
    return (r if weights is None else r * weights).sum(axis=1)
