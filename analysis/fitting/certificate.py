"""The convergence certificate: is a fit the minimum, and do the runs determine each parameter?

A fit that stopped is not one that converged, and one that converged may still leave a parameter
open: the objective is flat along it. So every fit is shown with the gradient where it rests, how
many starts came to the same place, the condition number of its Hessian, and for each parameter the
range in which the objective, the others fitted again, stays within what 95% of chance would add
(a profile likelihood interval). A parameter without such a range is unidentified, and has no value.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.fitting.derivatives import State, derivatives, pose
from analysis.fitting.fit import LawFit
from analysis.fitting.least_absolute import DUAL_TOL
from analysis.fitting.minimize import minimize
from analysis.fitting.newton import GRADIENT_TOL, least_gain
from analysis.laws.law import PRINTED, Array, is_scaling

CHI_SQUARE_95 = 3.841458820694124  # 95% quantile, one degree of freedom
STEPS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # of a profile, in widths of its parabola


@dataclass(frozen=True)
class Certificate:
    """The evidence that a fit is the minimum, and which parameters it determines."""

    converged: bool
    gradient_norm: float
    gradient_tolerance: float  # more than GRADIENT_TOL where rounding leaves more
    starts: int
    starts_agreeing: int
    largest_disagreement: float
    bounds_hit: tuple[str, ...]
    condition_number: float
    profile: dict[str, tuple[float, float]]  # of E and the exponents; infinite where open
    unidentified: tuple[str, ...]
    notes: tuple[str, ...]


def certify(fit: LawFit) -> Certificate:
    """Certify `fit`: profile its free parameters, with some refits for each."""
    state = _state(fit)
    curvature, condition = _curvature(fit, state)
    notes, profile, open_ = [], {}, []
    if fit.n <= fit.n_free or fit.scale < 1e-24:
        notes.append(
            f"the law passes through all {fit.n} runs: residuals say nothing of how far its "
            f"{fit.n_free} parameters are determined"
        )
    else:
        profile = {
            name: _profile(fit, a, curvature)
            for a, name in enumerate(fit.law.parameters)
            if fit.free[a]
        }
        open_ = [name for name, bounds in profile.items() if _is_open(fit, name, bounds)]
    lost = _without_value(fit, open_)
    if "E" in open_:
        open_.remove("E")  # E is bounded below by zero, and above by its profile
        notes.append("the runs bound E from above only: zero is not excluded")
    steep = [
        name
        for name in fit.law.powers_of_scale
        if not is_scaling(fit.theta[fit.law.parameters.index(name)])
    ]
    shown = {
        PRINTED.get(name, name): _natural(fit, name, bounds)
        for name, bounds in profile.items()
        if name not in fit.law.coefficients[1:] and name not in ("kappa", "log_break")
    }
    return Certificate(
        converged=fit.converged,
        gradient_norm=fit.gradient,
        gradient_tolerance=_tolerance(fit, state),
        starts=fit.starts.tried,
        starts_agreeing=fit.starts.agreeing,
        largest_disagreement=fit.starts.worst_parameter,
        bounds_hit=(*fit.at_bound, *steep),
        condition_number=condition,
        profile=shown,
        unidentified=tuple(
            PRINTED.get(n, n) for n in fit.law.parameters if n in open_ or n in lost
        ),
        notes=tuple(notes),
    )


def _without_value(fit: LawFit, open_: list[str]) -> set[str]:
    """Name what is lost with others: coefficients of open exponents, and terms that are zero.

    A coefficient refers to one parameter or token: without its exponent it has no value.
    """
    k = fit.law.n_coefficients
    slopes = fit.law.basis(fit.theta[None, k:], fit.points.x)[1]
    lost = set()
    for coefficient, own in zip(fit.law.coefficients, slopes, strict=True):
        for exponent in (fit.law.exponents[a] for a, _ in own):
            if coefficient in fit.at_bound:
                lost |= {coefficient, exponent}
            elif exponent in open_:
                lost.add(coefficient)
    return lost


def _state(fit: LawFit) -> State:
    """Evaluate the objective's derivatives at the fit; of absolute deviations, smoothed."""
    delta = fit.delta or max(float(np.median(np.abs(fit.residuals))), 1e-12)
    return derivatives(pose(fit.law, fit.points, delta, free=fit.free), fit.theta[None])


def _tolerance(fit: LawFit, state: State) -> float:
    """Compute the gradient up to which the fit is at rest, as a fraction of sum |psi|.

    A step that foresees `least_gain` has a gradient of sqrt(2 H gain) along a parameter at most.
    """
    if not fit.delta:
        return DUAL_TOL
    left = 2 * least_gain(fit.pose(fit.free)) * np.abs(np.diag(state.H[0])).max(initial=0)
    return max(GRADIENT_TOL, math.sqrt(left) / max(float(state.scale[0]), 1e-300))


def _curvature(fit: LawFit, state: State) -> tuple[Array, float]:
    """Compute the [p, p] curvature, zero where held, and its condition number at unit diagonal."""
    assert state.M is not None
    matrix, free = state.M[0], fit.free
    spread = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    eigenvalues = np.linalg.eigvalsh(matrix / np.outer(spread, spread))
    condition = float(eigenvalues[-1] / max(eigenvalues[0], 1e-300))
    full = np.zeros((fit.theta.size, fit.theta.size))
    full[np.ix_(free, free)] = matrix
    return full, condition


def _profile(fit: LawFit, a: int, curvature: Array) -> tuple[float, float]:
    """Find where the profiled objective crosses the threshold on both sides of parameter a."""
    others = fit.free.copy()
    others[a] = False
    rest = np.flatnonzero(others)
    block = curvature[np.ix_(rest, rest)]
    pull = -np.linalg.lstsq(block, curvature[rest, a], rcond=1e-14)[0] if rest.size else np.zeros(0)
    own = max(float(curvature[a, a] + curvature[a, rest] @ pull), 1e-12 * curvature[a, a])
    threshold = 0.5 * CHI_SQUARE_95 * fit.scale
    width = math.sqrt(2 * threshold / max(own, 1e-300))
    found = []
    for sign in (-1, 1):
        moves = sign * width * np.array(STEPS)
        theta = np.repeat(fit.theta[None], moves.size, axis=0)
        theta[:, a] += moves
        theta[:, rest] += np.clip(moves[:, None] * pull, -3, 3)
        done = minimize(fit.pose(others), theta, max_steps=60)
        found.append(_crossing(moves, done.objective - fit.objective, threshold))
    return float(fit.theta[a] + found[0]), float(fit.theta[a] + found[1])


def _crossing(moves: Array, rises: Array, threshold: float) -> float:
    """Find the move at which the rise reaches the threshold, by its root; infinite if none."""
    above = np.flatnonzero(~(rises < threshold))
    if not above.size:
        return math.copysign(math.inf, moves[0])
    i = int(above[0])
    x = np.concatenate([[0.0], moves[: i + 1]])
    y = np.sqrt(np.maximum(np.concatenate([[0.0], rises[: i + 1]]), 0))
    if not math.isfinite(y[-1]):
        return float(x[-1])
    part = (math.sqrt(threshold) - y[-2]) / max(y[-1] - y[-2], 1e-300)
    return float(x[-2] + min(max(part, 0.0), 1.0) * (x[-1] - x[-2]))


def _is_open(fit: LawFit, name: str, bounds: tuple[float, float]) -> bool:
    if name in fit.law.powers_of_scale:
        return not (bounds[0] > 0 and is_scaling(bounds[1]))
    return not (math.isfinite(bounds[0]) and math.isfinite(bounds[1]))


def _natural(fit: LawFit, name: str, bounds: tuple[float, float]) -> tuple[float, float]:
    """Convert bounds of a logarithm to bounds of what it is of; leave exponents as they are."""
    if name in fit.law.coefficients or name.startswith("log_"):
        return (math.exp(bounds[0]), math.exp(min(bounds[1], 700.0)))
    return bounds
