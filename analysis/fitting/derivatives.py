"""Value, gradient, Hessian and majorizer of the objective, for many problems at once.

With z_j the derivatives of term j's logarithm and s_j its share of the fitted loss, a residual has
the derivative sum_j s_j z_j, and every sum over runs that is needed is one of products of shares
with features z_j, or z_j z_l'. Where the law is a pure power these features are the same for all
problems, and the sums are matrix products; a curved law builds its Jacobian instead.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.laws.law import Array, Basis, Law

CACHED = 16_384  # residuals worked on at a time: a dozen arrays of them fit a core's cache

Entries = list[tuple[int, int]]  # (row, column) of the Hessian
GRADIENT = -1  # the row before its first


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

    def of(self, rows: slice | NDArray[np.intp]) -> "Points":
        """The points of some of the problems."""
        return self if self.log_loss.ndim == 1 else Points(self.x, self.log_loss[rows])


@dataclass
class State:
    """Value, gradient, Hessian and majorizer at theta, for each problem; over free parameters."""

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
        """The problems of all parts, of which all or none have a majorizer."""
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
class Design:
    """The features of a pure law's terms: the same for all problems.

    `single[j]` [n, q + q q] holds the derivatives of term j's logarithm and their products,
    `pairs[j, m]` [n, q_j q_m] the products of two terms' derivatives. Sums over runs of these, side
    by side, times `to_both` are the gradient beside the Hessian, [p + p p]; those of the pairs
    alone times `to_majorizer` are the majorizer.
    """

    single: list[Array]
    pairs: dict[tuple[int, int], Array]
    to_both: Array
    to_majorizer: Array


def design(law: Law, points: Points) -> Design | None:
    """Features of `law` at `points`; None for a curved law."""
    if law.is_curved:
        return None
    k = law.n_coefficients
    slopes = law.basis(np.zeros((1, len(law.exponents))), points.x)[1]
    places = [[j, *(k + a for a, _ in own)] for j, own in enumerate(slopes)]
    features = [np.stack([np.ones(points.n), *(z for _, z in own)], axis=1) for own in slopes]

    def products(j: int, m: int) -> Array:
        return (features[j][:, :, None] * features[m][:, None, :]).reshape(points.n, -1)

    count, p = len(features), len(law.parameters)
    every = [(j, m) for j in range(count) for m in range(j, count)]
    alone: list[Entries] = []
    for own in places:
        alone += [[(GRADIENT, a)] for a in own] + [[(a, b)] for a in own for b in own]
    paired = [
        [(a, b), (b, a)] if j != m else [(a, b)]
        for j, m in every
        for a in places[j]
        for b in places[m]
    ]
    return Design(
        [np.concatenate([features[j], products(j, j)], axis=1) for j in range(count)],
        {(j, m): products(j, m) for j, m in every},
        _places([*alone, *paired], p),
        _places(paired, p)[:, p:],
    )


def _places(sums: list[Entries], p: int) -> Array:
    """[sums, p + p p] of ones where a sum is added to the gradient or the Hessian beside it."""
    found = np.zeros((len(sums), p + p * p))
    for i, entries in enumerate(sums):
        for row, column in entries:
            found[i, p + row * p + column] = 1.0
    return found


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
    features: Design | None

    @classmethod
    def made(
        cls,
        law: Law,
        points: Points,
        delta: float,
        weights: Array | None = None,
        free: NDArray[np.bool_] | None = None,
    ) -> "Problems":
        """With the features of the law, and all parameters free where `free` is absent."""
        free = np.ones(len(law.parameters), bool) if free is None else free
        return cls(law, points, delta, weights, free, design(law, points))

    def of(self, rows: slice | NDArray[np.intp]) -> "Problems":
        """Some of the problems."""
        weights = self.weights
        if weights is not None and weights.ndim == 2:
            weights = weights[rows]
        return replace(self, points=self.points.of(rows), weights=weights)


def derivatives(problems: Problems, theta: Array, with_majorizer: bool = True) -> State:
    """The objectives and their derivatives at theta [r, p]."""
    count = max(1, CACHED // max(problems.points.n, 1))
    if count >= len(theta):
        return _derivatives(problems, theta, with_majorizer)
    slices = [slice(start, start + count) for start in range(0, len(theta), count)]
    return State.joined(
        [_derivatives(problems.of(rows), theta[rows], with_majorizer) for rows in slices]
    )


def at_one_place(problems: Problems, theta: Array) -> State:
    """`derivatives` of all problems at the same theta [p]; their weights are [r, n].

    All sums are linear in the weights: each run's own share of them is found once.
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


def _derivatives(problems: Problems, theta: Array, with_majorizer: bool) -> State:
    """`derivatives` of problems whose arrays fit the cache; in place where it can be."""
    law, points, delta = problems.law, problems.points, problems.delta
    weights, free = problems.weights, problems.free
    k = law.n_coefficients
    with np.errstate(all="ignore"):
        basis = law.basis(theta[:, k:], points.x)
        total = np.zeros((len(theta), points.n))
        shares = []
        for j, log in enumerate(basis[0]):
            term = theta[:, j, None] + log
            total += np.exp(term, out=term)
            shares.append(term)
        inverse = 1 / total
        shares = [share * inverse for share in shares]
        r = np.log(total, out=total)
        r -= points.log_loss
        psi = np.clip(r, -delta, delta)
        weighted = psi if weights is None else psi * weights
        objective = _dot(weighted, r) - 0.5 * _dot(weighted, psi)
        scale = np.abs(weighted).sum(axis=1)
        size = np.abs(r, out=r)
        curved = (size < delta).astype(float)
        if weights is not None:
            curved *= weights
        curved -= weighted
        flat = _weight_of_squares(size, delta, weights) if with_majorizer else None
        sums = _pure if problems.features is not None else _curved
        g, H, M = sums(problems, theta, shares, basis, weighted, curved, flat)
    if not free.all():
        g, H = g[:, free], H[:, free][:, :, free]
        M = None if M is None else M[:, free][:, :, free]
    objective = np.where(np.isfinite(objective), objective, np.inf)
    return State(theta, objective, g, H, M, scale)


def _weight_of_squares(size: Array, delta: float, weights: Array | None) -> Array:
    """psi(r) / r times the weights, |r| being `size`, which is overwritten."""
    flat = np.minimum(np.divide(delta, size, out=size), 1.0, out=size)
    return flat if weights is None else np.multiply(flat, weights, out=flat)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("rn,rn->r", a, b)


def _pure(
    problems: Problems,
    theta: Array,
    shares: list[Array],
    basis: Basis,
    weighted: Array,
    curved: Array,
    flat: Array | None,
) -> tuple[Array, Array, Array | None]:
    """Gradient, Hessian and majorizer by products of shares with constant features."""
    features = problems.features
    assert features is not None
    r, p = theta.shape
    scratch = np.empty(weighted.shape)
    alone = [
        np.multiply(weighted, share, out=scratch) @ own
        for share, own in zip(shares, features.single, strict=True)
    ]
    both = [*alone, *_paired(curved, shares, features, scratch)]
    found = np.concatenate(both, axis=1) @ features.to_both
    M = None
    if flat is not None:
        sums = np.concatenate(_paired(flat, shares, features, scratch), axis=1)
        M = (sums @ features.to_majorizer).reshape(r, p, p)
    return found[:, :p], found[:, p:].reshape(r, p, p), M


def _paired(weight: Array, shares: list[Array], features: Design, scratch: Array) -> list[Array]:
    """[r, q_j q_m] sums of weight s_j s_m z_j z_m' for each pair of terms."""
    leaning = [weight * share for share in shares]
    return [
        np.multiply(leaning[j], shares[m], out=scratch) @ products
        for (j, m), products in features.pairs.items()
    ]


def _curved(
    problems: Problems,
    theta: Array,
    shares: list[Array],
    basis: Basis,
    weighted: Array,
    curved: Array,
    flat: Array | None,
) -> tuple[Array, Array, Array | None]:
    """Gradient, Hessian and majorizer by the Jacobian of every problem."""
    law, points = problems.law, problems.points
    k = law.n_coefficients
    J = np.zeros((*theta.shape, points.n))
    for j, (share, slopes) in enumerate(zip(shares, basis[1], strict=True)):
        J[:, j] = share
        for a, slope in slopes:
            J[:, k + a] += share * slope
    g = (J @ weighted[:, :, None])[:, :, 0]
    M = None if flat is None else (J * flat[:, None, :]) @ J.swapaxes(1, 2)
    H = (J * curved[:, None, :]) @ J.swapaxes(1, 2)
    _add_curvature(law, theta, points, weighted, shares, basis, H)
    return g, H, M


def jacobian(law: Law, theta: Array, points: Points) -> tuple[Array, Array]:
    """Residuals [n] and their derivatives [n, p] at theta [p]."""
    k = law.n_coefficients
    basis, slopes = law.basis(theta[None, k:], points.x)
    terms = [
        np.broadcast_to(np.exp(theta[j] + log), (1, points.n))[0] for j, log in enumerate(basis)
    ]
    total = np.sum(terms, axis=0)
    J = np.zeros((points.n, theta.size))
    for j, term in enumerate(terms):
        J[:, j] = term / total
        for a, slope in slopes[j]:
            J[:, k + a] += term / total * np.broadcast_to(slope, (1, points.n))[0]
    return np.log(total) - points.log_loss, J


def _add_curvature(
    law: Law,
    theta: Array,
    points: Points,
    weighted: Array,
    shares: list[Array],
    basis: Basis,
    H: Array,
) -> None:
    """Add sum_i psi_i sum_j s_ij (z z' + d2 log g_j), z the derivatives of term j's logarithm."""
    k = law.n_coefficients
    loads = [weighted * share for share in shares]
    for j, (load, slopes) in enumerate(zip(loads, basis[1], strict=True)):
        H[:, j, j] += load.sum(axis=1)
        for place, (a, slope) in enumerate(slopes):
            lean = load * slope
            edge = lean.sum(axis=1)
            H[:, j, k + a] += edge
            H[:, k + a, j] += edge
            for b, other in slopes[place:]:
                value = (lean * other).sum(axis=1)
                H[:, k + a, k + b] += value
                if b != a:
                    H[:, k + b, k + a] += value
    _add_bend(law, theta[:, k:], points, loads, H[:, k:, k:])


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
