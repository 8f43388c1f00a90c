"""The fit of a law to runs: starting points on a grid, refinement to a gradient norm, the result.

    LawFit = fit_law(law, columns, loss, ...)

The objective is the sum over runs of a loss of log L - log L_fit, without weights or scaling:
Huber's with its delta (Hoffmann et al. 2022), absolute deviations (`l1`) or half squares (`l2`).
They are different estimators with different answers on the same runs: a comparison with published
numbers has to use the estimator behind them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fitting import huber
from analysis.fitting.derivatives import Points, Problems, pose
from analysis.fitting.minimize import minimize
from analysis.fitting.newton import MAX_STEPS, Refined
from analysis.fitting.starting_points import points_on_grid
from analysis.laws.law import ZERO_COEFFICIENT, Array, Law

Loss = Literal["huber", "l1", "l2"]

NEGLIGIBLE = 1e-6  # largest fraction of the loss that a term of a zero coefficient may be
MANY = 20_000  # runs beyond which starts race on a random part of them
LAST_STEPS = 1000  # of the best start alone, where a valley is long and curved
FIRST_STEPS = 9  # that every start takes before the worse ones are left behind
ENOUGH = 3  # starts at one lowest value that settle the race
SAME_MINIMUM = 1e-7  # relative difference of objectives


class FitError(ValueError):
    """The runs cannot be fitted by the law; the message says why and what to do."""


@dataclass(frozen=True)
class Starts:
    """What became of the starting points."""

    tried: int
    agreeing: int  # that ended within SAME_MINIMUM of the best objective
    unfinished: int  # left behind while clearly worse, or at the last step
    worst_parameter: float  # largest difference of a parameter among those that agree


@dataclass(frozen=True)
class LawFit:
    """A law fitted to n runs; `theta` refers to logs centred at `centre`."""

    law: Law
    loss: Loss
    delta: float  # infinite for l2, zero for l1
    theta: Array  # [p]
    free: NDArray[np.bool_]  # [p] false where held, or at zero
    held: tuple[str, ...]
    at_bound: tuple[str, ...]
    centre: Array
    points: Points
    objective: float
    gradient: float
    converged: bool
    starts: Starts

    @property
    def n(self) -> int:
        """Number of runs fitted."""
        return self.points.n

    @property
    def n_free(self) -> int:
        """Number of parameters that the runs had to determine."""
        return len(self.theta) - len(self.held)

    @property
    def params(self) -> dict[str, float]:
        """The parameters as papers print them."""
        found = self.law.natural(self.theta[None], self.centre)
        return {name: float(value[0]) for name, value in found.items()}

    @property
    def residuals(self) -> Array:
        """[n] log fitted loss minus log loss: negative where a run did worse than the law."""
        return self.law.log_loss(self.theta[None], self.points.x)[0] - self.points.log_loss

    @property
    def spread(self) -> Array:
        """[n] residuals, widened for the parameters that were fitted to them."""
        return self.residuals * math.sqrt(self.n / max(self.n - int(self.free.sum()), 1))

    @property
    def scale(self) -> float:
        """The spread tau of the likelihood exp(-loss(r) / tau); see `log_likelihood`."""
        return huber.scale(self.objective, self.n, self.delta)

    @property
    def log_likelihood(self) -> float:
        """Log likelihood of the log losses under exp(-loss(r) / tau), tau at its maximum."""
        tau = self.scale
        if tau <= 0:
            return math.inf
        return -self.objective / tau - self.n * huber.log_normalizer(tau, self.delta)

    @property
    def aicc(self) -> float:
        """Akaike's criterion corrected for few runs; infinite where there are too few for it."""
        k = self.n_free + 1
        if self.n <= k + 1:
            return math.inf
        return 2 * k - 2 * self.log_likelihood + 2 * k * (k + 1) / (self.n - k - 1)

    def pose(self, free: NDArray[np.bool_]) -> Problems:
        """Pose the problem that was solved, with other parameters free [p]."""
        return pose(self.law, self.points, self.delta, free=free)

    def predict(self, columns: Mapping[str, ArrayLike]) -> Array:
        """Compute the law's loss at values of its variables, as {"params": ..., "tokens": ...}."""
        x = logs_of(self.law, columns) - self.centre[:, None]
        return np.exp(self.law.log_loss(self.theta[None], x)[0])


def fit_law(
    law: Law,
    columns: Mapping[str, ArrayLike],
    loss_values: ArrayLike,
    *,
    loss: Loss = "huber",
    delta: float | None = None,
    E: float | None = None,
    starts: int | None = None,
    starting_points: Array | None = None,
) -> LawFit:
    """Fit `law` to runs.

    Args:
        law: the law.
        columns: its variables by name, [n] each, positive.
        loss_values: [n] validation loss in nats per token, positive.
        loss: the estimator.
        delta: where Huber's loss turns linear, in relative loss; by default 1.345 robust standard
            deviations of the residuals (from their median absolute deviation).
        E: the irreducible loss where it is held, 0 included; free when absent.
        starts: grid cells refined; the law's own number when absent.
        starting_points: [s, p] in the centred parametrization, instead of the grid's.

    Raises:
        FitError: a value outside the law's domain, or too few distinct runs for its parameters.
    """
    logs = logs_of(law, columns)
    values = np.asarray(loss_values, dtype=np.float64)
    if values.shape != logs.shape[1:]:
        raise FitError(f"{logs.shape[1]} runs but {values.size} losses; give one a run")
    if not (np.isfinite(values) & (values > 0)).all():
        raise FitError("a loss is not a finite positive number; leave such runs out")
    if delta is not None and not (delta > 0 and math.isfinite(delta)):
        raise FitError(f"delta is {delta:g}; give a positive number, such as 1e-3")
    centre = law.centre(logs)
    points = Points(logs - centre[:, None], np.log(values))
    held = _held(law, E, values)
    free = np.array([name not in held for name in law.parameters])
    _refuse_too_few(law, points, int(free.sum()))
    fixed = {law.parameters.index(name): value for name, value in held.items()}
    some = _some(points)
    if starting_points is None:
        starting_points = points_on_grid(law, some, starts or law.starts, fixed)
    problems = pose(law, some, math.inf, free=free)
    if loss == "huber" and delta is None:
        starting_points, delta = _with_delta(problems, starting_points)
    width = {"huber": delta or 0.0, "l1": 0.0, "l2": math.inf}[loss]
    refined = _race(replace(problems, delta=width), starting_points)
    if some.n < points.n:
        order = np.argsort(refined.objective)[:2]
        refined = minimize(pose(law, points, width, free=free), refined.theta[order])
    best = _best(refined)
    if not refined.converged[best]:
        last = minimize(
            pose(law, points, width, free=free), refined.theta[[best]], max_steps=LAST_STEPS
        )
        refined.put(np.array([best]), last)
    fit = LawFit(
        law=law,
        loss=loss,
        delta=width,
        theta=refined.theta[best],
        free=free,
        held=tuple(held),
        at_bound=(),
        centre=centre,
        points=points,
        objective=float(refined.objective[best]),
        gradient=float(refined.gradient[best]),
        converged=bool(refined.converged[best]),
        starts=_compare_starts(refined, best),
    )
    return _settle_bounds(fit if fit.converged else _along_E(fit))


def logs_of(law: Law, columns: Mapping[str, ArrayLike]) -> Array:
    """Compute the logs of the law's variables, [variables, n]; its labels stay as they are."""
    rows = []
    for name in law.variables:
        if name not in columns:
            raise FitError(f"law {law.name} needs {', '.join(law.variables)}; {name} is absent")
        values = np.atleast_1d(np.asarray(columns[name], dtype=np.float64))
        if name in law.labels:
            rows.append(values)
            continue
        if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all():
            raise FitError(f"{name} holds a value that is not finite and positive")
        rows.append(np.log(values))
    if len({row.shape for row in rows}) > 1:
        raise FitError(f"{', '.join(law.variables)} differ in length")
    return np.array(rows)


def _some(points: Points) -> Points:
    """Take all points, or `MANY` at random of more, on which the starts race first."""
    if points.n <= MANY:
        return points
    chosen = np.random.default_rng(0).choice(points.n, MANY, replace=False)
    return Points(points.x[:, chosen], points.log_loss[chosen])


def _held(law: Law, E: float | None, values: Array) -> dict[str, float]:
    if E is None:
        return {}
    if "E" not in law.parameters:
        if E == 0:
            return {}
        raise FitError(f"law {law.name} has no E; leave E out")
    if not 0 <= E < values.min():
        raise FitError(
            f"E is {E:g}; give a number from 0 to below the lowest loss {values.min():g}"
        )
    return {"E": math.log(E) if E else ZERO_COEFFICIENT}


def _refuse_too_few(law: Law, points: Points, n_free: int) -> None:
    distinct = len(set(map(tuple, points.x.T.round(9).tolist())))
    if distinct < n_free:
        raise FitError(
            f"law {law.name} has {n_free} free parameters, and there are {points.n} runs at "
            f"{distinct} distinct {'/'.join(law.variables)}; add runs, hold E, or use a smaller law"
        )
    for name, row in zip(law.variables, points.x, strict=True):
        if np.ptp(row) < 1e-9 and n_free > 1:
            raise FitError(f"all runs have the same {name}; a law in it needs two values")


def _with_delta(problems: Problems, theta: Array) -> tuple[Array, float]:
    """Move starting points to the least-squares and then a robust fit; take delta from the latter.

    `problems` are of least squares.
    """
    law, points, delta = problems.law, problems.points, problems.delta
    for _ in range(3):
        refined = _race(replace(problems, delta=delta), theta)
        theta = refined.theta[np.argsort(refined.objective)]
        residuals = law.log_loss(theta[:1], points.x)[0] - points.log_loss
        delta = huber.robust_delta(residuals, int(problems.free.sum()))
    return theta, delta


def _race(problems: Problems, theta: Array) -> Refined:
    """Refine all starting points for a few steps, then to the end those that may still win.

    Three that have come to rest at one lowest value settle it, unless another is lower already.
    """
    few = 4 * FIRST_STEPS if problems.law.is_curved else FIRST_STEPS
    done = minimize(problems, theta, max_steps=few)
    for steps in (few, MAX_STEPS):
        best = done.objective.min()
        agreed = done.converged & _same_minimum(done)
        behind = ~done.converged
        if agreed.sum() >= ENOUGH:
            behind &= done.objective < best
        elif (behind & (done.objective <= 1.5 * best)).any():
            behind &= done.objective <= 1.5 * best
        if not behind.any():
            break
        done.put(behind, minimize(problems, done.theta[behind], max_steps=steps))
    return done


def _compare_starts(refined: Refined, best: int) -> Starts:
    same = _same_minimum(refined)
    spread = np.abs(refined.theta[same] - refined.theta[best]).max()
    return Starts(
        tried=len(refined.theta),
        agreeing=int(same.sum()),
        unfinished=int((~refined.converged & ~same).sum()),
        worst_parameter=float(spread),
    )


def _best(refined: Refined) -> int:
    """Choose the lowest objective, and of those that rounding alone tells apart one at rest."""
    same = _same_minimum(refined)
    order = np.lexsort((refined.objective, ~refined.converged, ~same))
    return int(order[0])


def _same_minimum(refined: Refined) -> NDArray[np.bool_]:
    """Tell which objectives are the lowest one, to `SAME_MINIMUM` or to rounding."""
    best = int(refined.objective.argmin())
    lowest = refined.objective[best]
    return refined.objective <= lowest * (1 + SAME_MINIMUM) + refined.rounding[best]


def _along_E(fit: LawFit) -> LawFit:
    """Finish an unfinished fit from the lowest of fits that hold E; return the better of both.

    Beside a shallow power the valley of E is narrow and bent, and steps along it are too short to
    arrive at a very small E. Each fit that holds E is a short way.
    """
    if "E" not in fit.law.parameters or not fit.free[(e := fit.law.parameters.index("E"))]:
        return fit
    values = fit.points.log_loss.min() - np.arange(0.5, 30, 0.5)
    theta = np.repeat(fit.theta[None], 1 + values.size, axis=0)
    theta[:, e] = [ZERO_COEFFICIENT, *values]
    others = fit.free.copy()
    others[e] = False
    done = minimize(fit.pose(others), theta)
    if done.objective[0] > done.objective.min() + done.rounding[0]:
        lowest = done.theta[[done.objective.argmin()]]
        done = minimize(fit.pose(fit.free), lowest, max_steps=LAST_STEPS)
    if not (done.converged[0] and done.objective[0] < fit.objective):
        return fit
    return _moved(fit, done)


def _moved(fit: LawFit, done: Refined) -> LawFit:
    """Return the fit moved to where one more problem came to rest."""
    return replace(
        fit,
        theta=done.theta[0],
        objective=float(done.objective[0]),
        gradient=float(done.gradient[0]),
        converged=bool(done.converged[0]),
    )


def _settle_bounds(fit: LawFit) -> LawFit:
    """Put coefficients whose terms have vanished at exactly zero, and refit the others."""
    k = fit.law.n_coefficients
    logs, _ = fit.law.basis(fit.theta[None, k:], fit.points.x)
    at_zero = [
        fit.law.parameters[j]
        for j, log in enumerate(logs)
        if fit.free[j]
        and (fit.theta[j] + log[0] - fit.points.log_loss).max() < math.log(NEGLIGIBLE)
    ]
    if not at_zero:
        return fit
    theta, free = fit.theta.copy(), fit.free.copy()
    for name in at_zero:
        j = fit.law.parameters.index(name)
        theta[j], free[j] = ZERO_COEFFICIENT, False
        for a, _ in fit.law.basis(theta[None, k:], fit.points.x)[1][j]:
            free[k + a] = False
    done = minimize(fit.pose(free), theta[None])
    if done.objective[0] > fit.objective * (1 + 1e-9) + done.rounding[0]:
        return replace(fit, at_bound=tuple(at_zero))
    return replace(_moved(fit, done), free=free, at_bound=tuple(at_zero))
