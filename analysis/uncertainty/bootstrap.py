"""How far the runs determine a fit: resamples of the runs, all refined together.

What is drawn again is a cluster: a training run with all its checkpoints, which are not
independent of each other; without a column that says so, each row is one. From many clusters they
are drawn with replacement (`pairs`). From few, resamples would often lack what identifies a
parameter and intervals would be far too narrow, so the fitted law keeps its design and receives
new errors instead (`errors`): a Gaussian error for each cluster and one for each row, of the
residuals' variances, these drawn in turn from what their degrees of freedom leave open (scaled
inverse chi-square), which widens the interval as Student's t widens the normal's.
Where rows are so many that refitting them is a matter of hours, the resampled estimates are drawn
from their limit instead, a normal distribution with the clustered sandwich variance (`sandwich`).
Arms are paired by drawing with the same seed and cluster names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fitting.derivatives import Points, Problems, jacobian, pose
from analysis.fitting.fit import NEGLIGIBLE, LawFit
from analysis.fitting.minimize import minimize
from analysis.fitting.newton import Refined
from analysis.fitting.starting_points import points_on_grid
from analysis.laws.law import Array, is_scaling

Method = Literal["pairs", "errors", "sandwich"]

MOST_WORK = 1e8  # rows times resamples up to which resamples are refitted
AT_REST = 1e-7  # gradient at which a resample is done, far below the spread of resamples
SMALL = 0.02  # fraction of the loss from which a coefficient at zero starts in a resample
CHUNK = 2e7  # rows times resamples held in memory
PAIRS_FROM = 10  # clusters for each free parameter from which `pairs` is used


@dataclass(frozen=True)
class Resampling:
    """The settings of a bootstrap; the same settings give the same draws, bit for bit."""

    resamples: int = 4000
    level: float = 0.95
    seed: int = 0
    method: Method | None = None  # chosen by the number of clusters when absent


@dataclass(frozen=True)
class Estimate:
    """A value and its percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """The fits of the resamples; `theta` rows that failed are left out of every interval."""

    fit: LawFit
    theta: Array  # [r, p]
    failed: NDArray[np.bool_]  # [r] not converged
    bounded: NDArray[np.bool_]  # [r] a coefficient at zero, or an exponent that no scaling law has
    method: Method
    n_clusters: int
    level: float

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Percentile interval of each printed parameter that was free."""
        found = self.fit.law.natural(self.theta[~self.failed], self.fit.centre)
        return {
            name: self.percentiles(values)
            for name, values in found.items()
            if name not in self.fit.held
        }

    def percentiles(self, values: Array) -> tuple[float, float]:
        """Compute the percentile interval of a quantity of the resamples that did not fail."""
        tail = 50 * (1 - self.level)
        if values.size == 0:
            return (float("nan"), float("nan"))
        with np.errstate(invalid="ignore"):  # interpolation between two infinities
            low, high = np.percentile(values, [tail, 100 - tail])
        return (float(low), float(high))

    def estimate(self, value: float, drawn: Array) -> Estimate:
        """Give `value` the percentile interval of what the resamples gave in its place."""
        return Estimate(value, *self.percentiles(drawn))

    def log_loss(self, x: Array) -> Array:
        """Compute the log loss [r, m] of each resample that did not fail, at centred logs x."""
        return self.fit.law.log_loss(self.theta[~self.failed], x)


def bootstrap(
    fit: LawFit,
    resampling: Resampling,
    clusters: Sequence[object] | ArrayLike | None = None,
    errors: Array | None = None,
) -> Draws:
    """Refit resamples of the runs of `fit`.

    Args:
        fit: the fit.
        resampling: how.
        clusters: [n] label of the training run each row belongs to; one each when absent.
        errors: [r, n] errors to add to the fitted law instead of drawing; see `paired_errors`.
    """
    member, n_clusters = _members(fit, clusters)
    method = _method(fit, resampling, n_clusters)
    rng = np.random.default_rng(resampling.seed)
    if errors is not None:
        method, parts = "errors", [_refit_with(fit, errors)]
    elif method == "sandwich":
        theta = _normal_limit(fit, member, n_clusters, resampling.resamples, rng)
        converged = np.ones(len(theta), bool)
        nothing = np.zeros(len(theta))
        parts = [Refined(theta, nothing, nothing, nothing, converged, 0)]
    else:
        size = max(1, int(CHUNK // fit.n))
        counts = [min(size, resampling.resamples - i) for i in range(0, resampling.resamples, size)]
        parts = [_refit(fit, method, member, n_clusters, count, rng) for count in counts]
    theta = np.concatenate([part.theta for part in parts])
    return Draws(
        fit=fit,
        theta=theta,
        failed=~np.concatenate([part.converged for part in parts]),
        bounded=_bounded(fit, theta),
        method=method,
        n_clusters=n_clusters,
        level=resampling.level,
    )


def identify_draws(
    fit: LawFit, resampling: Resampling, clusters: Sequence[object] | ArrayLike | None = None
) -> tuple[Resampling, bytes]:
    """Identify a bootstrap of `fit`: calls of equal identity give the same draws, bit for bit."""
    member, n_clusters = _members(fit, clusters)
    if n_clusters == fit.n and _method(fit, resampling, n_clusters) == "errors":
        member = np.arange(fit.n)  # each row has its own error, whatever its label
    return resampling, member.tobytes()


def _members(
    fit: LawFit, clusters: Sequence[object] | ArrayLike | None
) -> tuple[NDArray[np.intp], int]:
    """Number the clusters: [n] of each row, and how many there are."""
    labels = np.arange(fit.n) if clusters is None else np.asarray(clusters)
    names, member = np.unique(labels, return_inverse=True)
    return member, len(names)


def _method(fit: LawFit, resampling: Resampling, n_clusters: int) -> Method:
    if resampling.method is not None:
        return resampling.method
    if fit.n * resampling.resamples > MOST_WORK:
        return "sandwich"
    return choose_method(n_clusters, fit.n_free)


def choose_method(n_clusters: int, n_free: int) -> Method:
    """Choose `pairs` where clusters are many for the parameters, else `errors`."""
    return "pairs" if n_clusters >= PAIRS_FROM * n_free else "errors"


def variance_components(
    residuals: Array, member: NDArray[np.intp], n_free: int
) -> tuple[float, float, int, int]:
    """Estimate the variance between clusters and within, and the degrees of freedom of each.

    What the parameters take from the degrees of freedom is taken from both, and from those
    between clusters in full: parameters mostly tell runs apart, not checkpoints of one run.
    """
    sizes = np.bincount(member).astype(float)
    means = np.bincount(member, residuals) / sizes
    inside = residuals - means[member]
    dof_between = max(sizes.size - n_free, 1)
    if residuals.size == sizes.size:
        return 0.0, float(residuals @ residuals) / dof_between, dof_between, dof_between
    left = 1 - n_free / residuals.size
    dof_within = max(round((residuals.size - sizes.size) * left), 1)
    within = float(inside @ inside) / dof_within
    between = float((sizes * means**2).sum()) / dof_between
    return max(between - within, 0.0) / float(sizes.mean()), within, dof_between, dof_within


def draw_errors(
    residuals: Array,
    member: NDArray[np.intp],
    n_free: int,
    resamples: int,
    rng: np.random.Generator,
) -> Array:
    """Draw new errors, [r, n], of the residuals' spread: one for each cluster and one for each row.

    Args:
        residuals: [n] of a fit.
        member: [n] number of each row's cluster, from 0.
        n_free: parameters that were fitted.
        resamples: r.
        rng: where the errors come from.
    """
    between, within, dof_between, dof_within = variance_components(residuals, member, n_free)
    shared = rng.standard_normal((resamples, int(member.max()) + 1))
    shared *= np.sqrt(between * dof_between / rng.chisquare(dof_between, (resamples, 1)))
    own = rng.standard_normal((resamples, member.size))
    own *= np.sqrt(within * dof_within / rng.chisquare(dof_within, (resamples, 1)))
    return own + shared[:, member]


def _refit(
    fit: LawFit,
    method: Method,
    member: NDArray[np.intp],
    n_clusters: int,
    count: int,
    rng: np.random.Generator,
) -> Refined:
    if method == "errors":
        errors = draw_errors(fit.residuals, member, int(fit.free.sum()), count, rng)
        return _refit_with(fit, errors)
    even = np.full(n_clusters, 1 / n_clusters)
    weights = rng.multinomial(n_clusters, even, count).astype(float)
    if not np.array_equal(member, np.arange(n_clusters)):
        weights = weights[:, member]
    return _from_estimate(fit, fit.points, weights, count)


def _refit_with(fit: LawFit, errors: Array) -> Refined:
    points = Points(fit.points.x, fit.points.log_loss + fit.residuals + errors)
    return _from_estimate(fit, points, None, len(errors))


def _from_estimate(fit: LawFit, points: Points, weights: Array | None, count: int) -> Refined:
    problems = pose(fit.law, points, fit.delta, weights=weights, free=_free(fit))
    start = np.repeat(_start_inside(fit)[None], count, axis=0)
    done = minimize(problems, start, max_steps=100, tol=AT_REST)
    _try_again(fit, problems, done)
    return done


def _free(fit: LawFit) -> NDArray[np.bool_]:
    """Tell which parameters resamples move: all not held, also those that are at a bound."""
    return np.array([name not in fit.held for name in fit.law.parameters])


def _start_inside(fit: LawFit) -> Array:
    """Move the estimate's coefficients that are zero to where a resample can raise them."""
    k = fit.law.n_coefficients
    logs, _ = fit.law.basis(fit.theta[None, k:], fit.points.x)
    theta = fit.theta.copy()
    for name in fit.at_bound:
        j = fit.law.parameters.index(name)
        theta[j] = float((fit.points.log_loss - logs[j][0]).min()) + np.log(SMALL)
    return theta


def paired_errors(
    a: LawFit, b: LawFit, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draw errors, [r, n] each, for two arms whose rows are pairs in the same order.

    What a pair has in common (the data seen, the shape of the law) and what it differs by are
    drawn apart, each with its own variance and degrees of freedom.
    """
    parts = []
    for residuals in (a.residuals + b.residuals, b.residuals - a.residuals):
        dof = max(a.n - int(a.free.sum()), 1)
        scale = np.sqrt(residuals @ residuals / rng.chisquare(dof, (resamples, 1)))
        parts.append(scale * rng.standard_normal((resamples, a.n)))
    common, apart = parts
    return (common - apart) / 2, (common + apart) / 2


def _normal_limit(
    fit: LawFit,
    member: NDArray[np.intp],
    n_clusters: int,
    resamples: int,
    rng: np.random.Generator,
) -> Array:
    """Draw estimates from N(theta, H^-1 V H^-1), V the variance of the clusters' scores."""
    r, J = jacobian(fit.law, fit.theta, fit.points)
    J = J[:, fit.free]
    width = fit.delta or float(np.median(np.abs(r)))
    psi = np.sign(r) if fit.delta == 0 else np.clip(r, -width, width)
    H = (J * (np.abs(r) < width)[:, None]).T @ J / (width if fit.delta == 0 else 1.0)
    scores = np.stack([np.bincount(member, psi * column) for column in J.T])
    factor = np.linalg.lstsq(H, np.linalg.cholesky(scores @ scores.T), rcond=None)[0]
    factor *= np.sqrt(n_clusters / max(n_clusters - 1, 1))
    theta = np.repeat(fit.theta[None], resamples, axis=0)
    theta[:, fit.free] += rng.standard_normal((resamples, len(H))) @ factor.T
    return theta


def _bounded(fit: LawFit, theta: Array) -> NDArray[np.bool_]:
    """Tell which resamples put a coefficient at zero, or an exponent that no scaling law has."""
    k = fit.law.n_coefficients
    slopes = [fit.law.parameters.index(e) for e in fit.law.powers_of_scale]
    found: NDArray[np.bool_] = np.asarray((~is_scaling(theta[:, slopes])).any(axis=1))
    # The ends of the runs' range are where a term is largest.
    ends = np.unique([f(row) for row in fit.points.x for f in (np.argmin, np.argmax)])
    logs, _ = fit.law.basis(theta[:, k:], fit.points.x[:, ends])
    losses = fit.points.log_loss[ends]
    for j, log in enumerate(logs):
        if fit.law.parameters[j] not in fit.held:
            log_share = theta[:, j, None] + log - losses
            found |= log_share.max(axis=1) < np.log(NEGLIGIBLE)
    return found


def _try_again(fit: LawFit, problems: Problems, done: Refined) -> None:
    """Refit resamples that did not converge from the estimate from the grid's best cells."""
    starting_points = points_on_grid(fit.law, fit.points, 3)
    starting_points[:, ~problems.free] = fit.theta[~problems.free]
    for theta in starting_points:
        rows = np.flatnonzero(~done.converged)
        if not rows.size:
            return
        more = minimize(problems.of(rows), np.repeat(theta[None], rows.size, axis=0))
        better = more.objective <= done.objective[rows]
        done.put(rows[better], more, better)
