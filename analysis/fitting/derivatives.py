"""Value, gradient, Hessian and majorizer of the objective, for many problems at once.

With z_j the derivatives of term j's logarithm and s_j its share of the fitted loss, a residual has
the derivative sum_j s_j z_j, and every sum over runs that is needed is one of products of shares
with features z_j, or z_j z_l'. Where the law is a pure power these features are the same for all
problems, and the sums are matrix products; a curved law builds its Jacobian instead.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.features import Features, pure_features
from analysis.laws.law import Array, Law

# Error that rounding makes in a residual of a log loss of one, with room: the logs and the
# exponentials of a few terms each round to 1e-16.
ROUNDING = 2e-15
CACHED = 16_384  # residuals worked on at a time: arrays of them stay in a core's cache

Slopes = list[list[tuple[int, Array]]]  # of each term, as in `Basis`


@dataclass(frozen=True)
class Points:
    """What is fitted: x [variables, n] centred logs, and the log of the loss.

    `log_loss` is [n], or [r, n] where each of r problems has losses of its own.
    """

    x: Array
    log_loss: Array

    @property
    def n(self) -> int:
        """Number of points."""
        return self.x.shape[1]

    def of(self, rows: int | slice | NDArray[np.intp]) -> "Points":
        """Take the points of some of the problems; those of one have its own losses alone."""
        return self if self.log_loss.ndim == 1 else Points(self.x, self.log_loss[rows])


@dataclass
class State:
    """Value, gradient, Hessian and majorizer at theta, for each problem, by its free parameters."""

    theta: Array  # [r, p]
    objective: Array  # [r]
    g: Array  # [r, free]
    H: Array  # [r, free, free]
    M: Array | None  # [r, free, free]; None where it was not asked for
    scale: Array  # [r] sum |psi|

    def put(self, rows: NDArray[np.intp], other: "State", chosen: NDArray[np.bool_]) -> None:
        """Take over the chosen problems of `other`, which are `rows` here."""
        for name in ("theta", "objective", "g", "H", "M", "scale"):
            if (values := getattr(other, name)) is not None:
                getattr(self, name)[rows] = values[chosen]

    @classmethod
    def joined(cls, parts: list["State"]) -> "State":
        """Join the problems of all parts, of which all or none have a majorizer."""
        majorizers = [part.M for part in parts if part.M is not None]
        return cls(
            theta=np.concatenate([part.theta for part in parts]),
            objective=np.concatenate([part.objective for part in parts]),
            g=np.concatenate([part.g for part in parts]),
            H=np.concatenate([part.H for part in parts]),
            M=np.concatenate(majorizers) if majorizers else None,
            scale=np.concatenate([part.scale for part in parts]),
        )


@dataclass(frozen=True)
class Problems:
    """What is minimized at once: sum_i w_i huber(log L(x_i) - log_loss_i) over the free parameters.

    `weights` is [r, n] for each problem, [n] for all, or None for ones.
    """

    law: Law
    points: Points
    delta: float
    weights: Array | None
    free: NDArray[np.bool_]  # [p]
    features: Features | None  # None for a curved law

    @property
    def rounding(self) -> float:
        """Error that rounding makes in a residual."""
        return ROUNDING * (1 + float(np.abs(self.points.log_loss).max()))

    def of(self, rows: slice | NDArray[np.intp]) -> "Problems":
        """Take some of the problems."""
        weights = self.weights
        if weights is not None and weights.ndim == 2:
            weights = weights[rows]
        return replace(self, points=self.points.of(rows), weights=weights)


def pose(
    law: Law,
    points: Points,
    delta: float,
    *,
    weights: Array | None = None,
    free: NDArray[np.bool_] | None = None,
) -> Problems:
    """Pose the problems of fitting `law` to `points`.

    Args:
        law: the law.
        points: n points.
        delta: where Huber's loss turns from square to linear; 0 for absolute deviations, infinite
            for least squares.
        weights: [r, n] multiplicities, or [n] for all problems; one each when absent.
        free: [p] which parameters move; all when absent.
    """
    free = np.ones(len(law.parameters), bool) if free is None else free
    return Problems(law, points, delta, weights, free, pure_features(law, points.x))


def derivatives(problems: Problems, theta: Array, with_majorizer: bool = True) -> State:
    """Evaluate the objectives and their derivatives at theta [r, p]."""
    count = max(1, CACHED // max(problems.points.n, 1))
    if count >= len(theta):
        return _derivatives(problems, theta, with_majorizer)
    slices = [slice(start, start + count) for start in range(0, len(theta), count)]
    return State.joined(
        [_derivatives(problems.of(rows), theta[rows], with_majorizer) for rows in slices]
    )


def at_one_place(problems: Problems, theta: Array) -> State:
    """Evaluate all problems at the same theta [p]; their weights are [r, n].

    All sums are linear in the weights: each run's own part of them is found once.
    """
    weights, n = problems.weights, problems.points.n
    assert weights is not None
    alone = replace(problems, weights=np.eye(n))
    each = derivatives(alone, np.repeat(theta[None], n, axis=0))
    assert each.M is not None
    r, q = len(weights), each.g.shape[1]
    return State(
        theta=np.repeat(theta[None], r, axis=0),
        objective=weights @ each.objective,
        g=weights @ each.g,
        H=(weights @ each.H.reshape(-1, q * q)).reshape(r, q, q),
        M=(weights @ each.M.reshape(-1, q * q)).reshape(r, q, q),
        scale=weights @ each.scale,
    )


@dataclass(frozen=True)
class _Runs:
    """What each run brings to the sums of each problem; arrays are [r, n]."""

    shares: list[Array]  # of each term in the fitted loss
    slopes: Slopes
    force: Array  # derivative of the run's loss by its residual
    curvature: Array  # factor of J J' in the Hessian
    majorant: Array | None  # factor of J J' in the majorizer; None where it was not asked for


def _derivatives(problems: Problems, theta: Array, with_majorizer: bool) -> State:
    """Evaluate problems whose arrays fit the cache."""
    law, points, delta = problems.law, problems.points, problems.delta
    weights = 1.0 if problems.weights is None else problems.weights
    with np.errstate(all="ignore"):
        logs, slopes = law.basis(theta[:, law.n_coefficients :], points.x)
        terms = [np.exp(theta[:, j, None] + log) for j, log in enumerate(logs)]
        fitted = sum(terms, np.zeros((len(theta), points.n)))
        inverse = 1 / fitted
        residuals = np.log(fitted) - points.log_loss
        influence = np.clip(residuals, -delta, delta)
        force = influence * weights
        size = np.abs(residuals)
        runs = _Runs(
            shares=[term * inverse for term in terms],
            slopes=slopes,
            force=force,
            curvature=(size < delta) * weights - force,
            majorant=np.minimum(delta / size, 1.0) * weights if with_majorizer else None,
        )
        objective = _dot(force, residuals) - 0.5 * _dot(force, influence)
        if problems.features is not None:
            g, H, M = _pure_sums(problems.features, runs)
        else:
            g, H, M = _curved_sums(problems, theta, runs)
    free = problems.free
    if not free.all():
        g, H = g[:, free], H[:, free][:, :, free]
        M = None if M is None else M[:, free][:, :, free]
    objective = np.where(np.isfinite(objective), objective, np.inf)
    return State(theta, objective, g, H, M, np.abs(force).sum(axis=1))


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("rn,rn->r", a, b)


def _pure_sums(features: Features, runs: _Runs) -> tuple[Array, Array, Array | None]:
    """Sum gradient, Hessian and majorizer by products of shares with constant features."""
    r, p = len(runs.force), features.n_parameters
    alone = [
        (runs.force * share) @ own for share, own in zip(runs.shares, features.single, strict=True)
    ]
    pairs = _pair_sums(features, runs.shares, runs.curvature)
    both = np.concatenate([*alone, *pairs], axis=1) @ features.to_both
    g, H = both[:, :p], both[:, p:].reshape(r, p, p)
    if runs.majorant is None:
        return g, H, None
    pairs = _pair_sums(features, runs.shares, runs.majorant)
    return g, H, (np.concatenate(pairs, axis=1) @ features.to_majorizer).reshape(r, p, p)


def _pair_sums(features: Features, shares: list[Array], weight: Array) -> list[Array]:
    """Sum weight s_j s_m z_j z_m' over runs, [r, q_j q_m] for each pair of terms."""
    weighted = [weight * share for share in shares]
    return [(weighted[j] * shares[m]) @ products for (j, m), products in features.pairs.items()]


def _curved_sums(
    problems: Problems, theta: Array, runs: _Runs
) -> tuple[Array, Array, Array | None]:
    """Sum gradient, Hessian and majorizer by the Jacobian of every problem."""
    law, points = problems.law, problems.points
    k = law.n_coefficients
    J = np.zeros((*theta.shape, points.n))
    for j, (share, slopes) in enumerate(zip(runs.shares, runs.slopes, strict=True)):
        J[:, j] = share
        for a, slope in slopes:
            J[:, k + a] += share * slope
    g = (J @ runs.force[:, :, None])[:, :, 0]
    H = (J * runs.curvature[:, None, :]) @ J.swapaxes(1, 2)
    loads = [runs.force * share for share in runs.shares]
    _add_curvature(k, loads, runs.slopes, H)
    _add_bend(law, theta[:, k:], points, loads, H[:, k:, k:])
    M = None
    if runs.majorant is not None:
        M = (J * runs.majorant[:, None, :]) @ J.swapaxes(1, 2)
    return g, H, M


def jacobian(law: Law, theta: Array, points: Points) -> tuple[Array, Array]:
    """Evaluate the residuals [n] and their derivatives [n, p] at theta [p]; not finite where the
    law overflows."""
    k = law.n_coefficients
    J = np.zeros((points.n, theta.size))
    with np.errstate(all="ignore"):
        basis, slopes = law.basis(theta[None, k:], points.x)
        terms = [
            np.broadcast_to(np.exp(theta[j] + log), (1, points.n))[0] for j, log in enumerate(basis)
        ]
        total = np.sum(terms, axis=0)
        for j, term in enumerate(terms):
            J[:, j] = term / total
            for a, slope in slopes[j]:
                J[:, k + a] += term / total * np.broadcast_to(slope, (1, points.n))[0]
        return np.log(total) - points.log_loss, J


def _add_curvature(k: int, loads: list[Array], slopes: Slopes, H: Array) -> None:
    """Add sum_i load_ij z z' of each term j to H, z the derivatives of the term's logarithm.

    Args:
        k: the number of coefficients, after which H has the exponents.
        loads: [r, n] force times share, of each term.
        slopes: of each term.
        H: [r, p, p] Hessian, changed in place.
    """
    for j, (load, own) in enumerate(zip(loads, slopes, strict=True)):
        H[:, j, j] += load.sum(axis=1)
        for place, (a, slope) in enumerate(own):
            lean = load * slope
            edge = lean.sum(axis=1)
            H[:, j, k + a] += edge
            H[:, k + a, j] += edge
            for b, other in own[place:]:
                value = (lean * other).sum(axis=1)
                H[:, k + a, k + b] += value
                if b != a:
                    H[:, k + b, k + a] += value


def _add_bend(law: Law, phi: Array, points: Points, loads: list[Array], H: Array) -> None:
    """Add the second derivatives of log g itself: central differences of the analytic first."""
    q, width = phi.shape[1], 1e-5
    bend = np.zeros_like(H)
    for b in range(q):
        for sign in (1, -1):
            moved = phi.copy()
            moved[:, b] += sign * width
            for load, slopes in zip(loads, law.basis(moved, points.x)[1], strict=True):
                for a, slope in slopes:
                    bend[:, a, b] += sign * (load * slope).sum(axis=1) / (2 * width)
    H += (bend + bend.swapaxes(1, 2)) / 2
