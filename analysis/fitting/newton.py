"""Newton's method with damping: many problems of one law, refined at once to a gradient norm.

The objective is a sum of Huber losses of log-residuals, of which least squares (delta infinite)
and least absolute deviations (delta to zero) are the ends. Each step solves (H + damping M) d = -g
with g and H the analytic gradient and Hessian and M the Hessian of the quadratic that majorizes
the objective where it stands (iteratively reweighted least squares): undamped it is Newton's step,
heavily damped a short step that cannot go uphill, and at any damping it is the same step whatever
the units. Each problem of the batch has a damping of its own and leaves the batch when it is done.

A problem is done by a criterion without a unit: its gradient is a negligible part of what it could
be, and Newton's step foresees a negligible part of the objective as gain; or the step foresees no
more than rounding the residuals can feign, which near-exact runs leave of both. A problem that no
step makes lower any more is done, too, where what its step foresees is below the objective's own
rounding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.derivatives import Problems, State, at_one_place, derivatives
from analysis.laws.law import Array

BLOCK = 1_048_576  # residuals of the problems that step together
FEW = 32  # problems up to which LAPACK, one by one, is faster than numpy for all at once
MAX_STEPS = 300
FIRST_DAMPING = 1e-2
RENEWED = 4  # steps between renewals of the majorizer, which only sets the scale of damping
LONGEST_STEP = 3.0  # in the log of a coefficient or in an exponent
# The gradient at which a problem is done, as a fraction of sum |psi|: of what it could be at most,
# were all derivatives of the log loss one.
GRADIENT_TOL = 1e-9


@dataclass(frozen=True)
class Refined:
    """Where each of r problems came to rest, or was left after the last step."""

    theta: Array  # [r, p]
    objective: Array  # [r]
    gradient: Array  # [r] largest derivative, as a fraction of sum |psi|
    rounding: Array  # [r] change of the objective that rounding can make
    converged: NDArray[np.bool_]  # [r]
    steps: int

    def put(
        self,
        rows: NDArray[np.intp] | NDArray[np.bool_],
        other: "Refined",
        chosen: NDArray[np.bool_] | slice = slice(None),
    ) -> None:
        """Take over the chosen problems of `other`, which are `rows` here; in place."""
        for name in ("theta", "objective", "gradient", "rounding", "converged"):
            getattr(self, name)[rows] = getattr(other, name)[chosen]


def refine(
    problems: Problems, theta: Array, *, tol: float = GRADIENT_TOL, max_steps: int = MAX_STEPS
) -> Refined:
    """Minimize the objective of each problem from its row of theta.

    Args:
        problems: r problems, of a delta that is not zero.
        theta: [r, p] starting points.
        tol: the gradient's norm, and the foreseen gain as a fraction of the objective, at which a
            problem is done; see `GRADIENT_TOL`.
        max_steps: after which a problem is left as not converged.
    """
    block = max(1, BLOCK // max(problems.points.n, 1))
    parts = []
    for start in range(0, len(theta), block):
        rows = slice(start, start + block)
        parts.append(_refine_block(problems.of(rows), theta[rows], tol, max_steps))
    return Refined(
        theta=np.concatenate([part.theta for part in parts]),
        objective=np.concatenate([part.objective for part in parts]),
        gradient=np.concatenate([part.gradient for part in parts]),
        rounding=np.concatenate([part.rounding for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
        steps=max(part.steps for part in parts),
    )


def _refine_block(problems: Problems, theta: Array, tol: float, max_steps: int) -> Refined:
    state = _first_state(problems, theta)
    damping = np.full(len(theta), FIRST_DAMPING)
    assert state.M is not None
    rounding = problems.rounding
    least = least_gain(problems)
    converged = _at_rest(state, tol, least)
    stalled = np.zeros(len(theta), bool)
    steps = 0
    while steps < max_steps and not (converged | stalled).all():
        steps += 1
        rows = np.flatnonzero(~(converged | stalled))
        d = _solve(state.H[rows], state.M[rows], damping[rows], -state.g[rows])
        d = np.clip(d, -LONGEST_STEP, LONGEST_STEP)
        tried = state.theta[rows].copy()
        tried[:, problems.free] += d
        left = problems if rows.size == len(theta) else problems.of(rows)
        fresh = steps <= 3 or steps % RENEWED == 0
        new = derivatives(left, tried, fresh)
        noise = rounding * state.scale[rows] + least
        with np.errstate(all="ignore"):
            slope = (state.g[rows] * d).sum(axis=1)
            curve = 0.5 * (d[:, None, :] @ state.H[rows] @ d[:, :, None])[:, 0, 0]
            foreseen = -(slope + curve)
            gained = state.objective[rows] - new.objective
            level = (np.abs(gained) <= noise) & (_norm(new) < _norm(state, rows))
            better = np.isfinite(new.objective) & ((gained > 1e-4 * -slope) | level)
            good = better & (gained > 0.7 * foreseen)
        state.put(rows[better], new, better)
        damping[rows] = np.where(
            good, damping[rows] / 16, damping[rows] * np.where(better, 0.5, 6.0)
        )
        damping[rows[good & (damping[rows] < 1e-7)]] = 0.0
        damping[rows[~better]] = np.maximum(damping[rows[~better]], 1e-3)
        converged[rows] = _at_rest(state, tol, least, rows)
        stalled[rows] = ~better & (damping[rows] > 1e12)
        stuck = stalled[rows]
        converged[rows[stuck]] = _at_rest(state, tol, noise[stuck], rows[stuck])
    noise = rounding * state.scale + least
    return Refined(state.theta, state.objective, _norm(state), noise, converged, steps)


def _first_state(problems: Problems, theta: Array) -> State:
    """Evaluate the starting points; resamples all start from one estimate, which costs little."""
    weights, points = problems.weights, problems.points
    alike = points.log_loss.ndim == 1 and points.n < len(theta) and (theta == theta[0]).all()
    if weights is not None and weights.ndim == 2 and alike:
        return at_one_place(problems, theta[0])
    return derivatives(problems, theta.copy())


def _norm(state: State, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
    return np.abs(state.g[rows]).max(axis=1, initial=0) / np.maximum(state.scale[rows], 1e-300)


def least_gain(problems: Problems) -> float:
    """Compute the gain that rounding of the residuals feigns, at most.

    Rounding moves each residual by no more than `Problems.rounding`; the gain that a step foresees
    to make of it is at most half the sum of its squares, whatever the curvature.
    """
    return problems.points.n * problems.rounding**2


def _at_rest(
    state: State, tol: float, least: float | Array, rows: NDArray[np.intp] | slice = slice(None)
) -> NDArray[np.bool_]:
    """Tell which problems are done; `least` is the gain that counts as rounding, of each or all."""
    assert state.M is not None
    g, H = state.g[rows], state.H[rows]
    least = np.broadcast_to(least, len(g))
    small = _norm(state, rows) <= tol
    # The gain foreseen is at least g^2 / 2H along each parameter: most problems need no solving.
    bound = 2 * least[:, None] * np.abs(np.einsum("raa->ra", H))
    maybe = np.flatnonzero(small | (g * g <= bound).all(axis=1))
    found = np.zeros(len(g), bool)
    if maybe.size:
        undamped = np.zeros(maybe.size)
        step = _solve(H[maybe], state.M[rows][maybe], undamped, g[maybe])
        gain = 0.5 * np.abs((step * g[maybe]).sum(axis=1))
        negligible = small[maybe] & (gain <= tol * state.objective[rows][maybe])
        found[maybe] = negligible | (gain <= least[maybe])
    return found


def _solve(H: Array, M: Array, damping: Array, rhs: Array) -> Array:
    """Solve (H + damping M) d = rhs for each problem, H made positive definite where it is not.

    An LDL' factorization, vectorized over problems. A negative pivot counts by its size, which
    keeps d a direction of descent and as long as the curvature allows.
    """
    with np.errstate(invalid="ignore"):
        A = H + damping[:, None, None] * M
    A[~np.isfinite(A)] = 0
    x = np.where(np.isfinite(rhs), rhs, 0)
    p = A.shape[1]
    if len(A) <= FEW:
        try:
            np.linalg.cholesky(A)
            return np.linalg.solve(A, x[:, :, None])[:, :, 0].astype(np.float64, copy=False)
        except np.linalg.LinAlgError:
            pass
    floor = np.maximum(np.einsum("rpp->rp", M), 1e-30)
    pivots = np.empty(x.shape)
    for j in range(p):
        pivot = A[:, j, j]
        pivot = np.maximum(np.abs(pivot), 1e-11 * floor[:, j])
        pivots[:, j] = pivot
        if j + 1 < p:
            column = A[:, j + 1 :, j] / pivot[:, None]
            A[:, j + 1 :, j + 1 :] -= column[:, :, None] * A[:, j, None, j + 1 :]
            A[:, j + 1 :, j] = column
            x[:, j + 1 :] -= column * x[:, j, None]
    x /= pivots
    for j in range(p - 2, -1, -1):
        x[:, j] -= (A[:, j + 1 :, j] * x[:, j + 1 :]).sum(axis=1)
    return x
