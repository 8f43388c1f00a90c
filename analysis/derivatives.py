"""Value, gradient, Hessian and majorizer of the objective, for many problems at once.

With z_j the derivatives of term j's logarithm and s_j its share of the fitted loss, a residual has
the derivative sum_j s_j z_j, and every sum over runs that is needed is one of products of shares
with features z_j, or z_j z_l'. Where the law is a pure power these features are the same for all
problems, and the sums are matrix products; a curved law builds its Jacobian instead.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.laws import Array, Basis, Law


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


@dataclass(frozen=True)
class Design:
    """The features of a pure law's terms: the same for all problems."""

    places: list[NDArray[np.intp]]  # of each term: the parameters its logarithm depends on
    single: list[Array]  # [n, q + q q] its derivatives and their products
    pairs: dict[tuple[int, int], Array]  # [n, q_j q_l] products of two terms' derivatives


def design(law: Law, points: Points) -> Design | None:
    """Features of `law` at `points`; None for a curved law."""
    if law.is_curved:
        return None
    k = law.n_coefficients
    slopes = law.basis(np.zeros((1, len(law.exponents))), points.x)[1]
    places = [np.array([j, *(k + a for a, _ in own)]) for j, own in enumerate(slopes)]
    features = [np.stack([np.ones(points.n), *(z for _, z in own)], axis=1) for own in slopes]

    def products(j: int, m: int) -> Array:
        return (features[j][:, :, None] * features[m][:, None, :]).reshape(points.n, -1)

    count = len(features)
    return Design(
        places,
        [np.concatenate([features[j], products(j, j)], axis=1) for j in range(count)],
        {(j, m): products(j, m) for j in range(count) for m in range(j, count)},
    )


def derivatives(
    law: Law,
    theta: Array,
    points: Points,
    delta: float,
    weights: Array | None,
    free: NDArray[np.bool_],
    features: Design | None,
    with_majorizer: bool = True,
) -> State:
    """The objective sum_i w_i huber(log L(x_i) - log_loss_i) and derivatives at theta [r, p]."""
    k = law.n_coefficients
    with np.errstate(all="ignore"):
        basis = law.basis(theta[:, k:], points.x)
        terms = [np.exp(theta[:, j, None] + log) for j, log in enumerate(basis[0])]
        total = np.broadcast_to(sum(terms), (len(theta), points.n))
        r = np.log(total) - points.log_loss
        psi = np.clip(r, -delta, delta)
        weighted = psi if weights is None else psi * weights
        objective = _dot(weighted, r) - 0.5 * _dot(weighted, psi)
        inverse = 1 / total
        shares = [term * inverse for term in terms]
        size = np.abs(r)
        inside = size < delta
        curved = inside.astype(float) if weights is None else inside * weights
        flat = np.where(inside, 1.0, delta / size) if with_majorizer else None
        if weights is not None and flat is not None:
            flat *= weights
        scale = np.abs(weighted).sum(axis=1)
        curved -= weighted
        sums = _pure if features is not None else _curved
        g, H, M = sums(law, theta, points, shares, basis, weighted, curved, flat, features)
    if not free.all():
        g, H = g[:, free], H[:, free][:, :, free]
        M = None if M is None else M[:, free][:, :, free]
    objective = np.where(np.isfinite(objective), objective, np.inf)
    return State(theta, objective, g, H, M, scale)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("rn,rn->r", a, b)


def _pure(
    law: Law,
    theta: Array,
    points: Points,
    shares: list[Array],
    basis: Basis,
    weighted: Array,
    curved: Array,
    flat: Array | None,
    features: Design | None,
) -> tuple[Array, Array, Array | None]:
    """Gradient, Hessian and majorizer by products of shares with constant features."""
    assert features is not None
    r, p = theta.shape
    g, H = np.zeros((r, p)), np.zeros((r, p, p))
    M = None if flat is None else np.zeros((r, p, p))
    for place, share, own in zip(features.places, shares, features.single, strict=True):
        q = place.size
        found = (weighted * share) @ own
        g[:, place] += found[:, :q]
        H[:, place[:, None], place] += found[:, q:].reshape(r, q, q)
    for weight, matrix in ((curved, H), (flat, M)):
        if weight is None or matrix is None:
            continue
        leaning = [weight * share for share in shares]
        for (j, m), products in features.pairs.items():
            a, b = features.places[j], features.places[m]
            found = ((leaning[j] * shares[m]) @ products).reshape(r, a.size, b.size)
            matrix[:, a[:, None], b] += found
            if m != j:
                matrix[:, b[:, None], a] += found.swapaxes(1, 2)
    return g, H, M


def _curved(
    law: Law,
    theta: Array,
    points: Points,
    shares: list[Array],
    basis: Basis,
    weighted: Array,
    curved: Array,
    flat: Array | None,
    features: Design | None,
) -> tuple[Array, Array, Array | None]:
    """Gradient, Hessian and majorizer by the Jacobian of every problem."""
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
