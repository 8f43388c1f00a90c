"""The model size of lowest loss at one budget: by a parabola in log N, and by an Akima spline.

The parabola smooths the noise of runs and assumes a shape; the spline goes through every loss and
assumes none. Each says for itself why a budget has no minimum. Resamples are worked on at once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.laws.law import Array

FEWEST = 4  # sizes that a parabola needs for a minimum
FEWEST_OF_SPLINE = 3  # sizes among which one can be lowest inside
FINER = 25  # points of the spline from one size to the next


@dataclass(frozen=True)
class Optimum:
    """The size of lowest loss by one method; None where `refused` says why."""

    params: float | None
    loss: float | None
    refused: str = ""


@dataclass(frozen=True)
class Method:
    """A way to find the size of lowest loss.

    `find` takes log N [n] and losses [n] of a budget; `find_resampled` takes multiplicities [r, n]
    too, and gives log N* [r], NaN where a resample has no minimum.
    """

    name: str
    find: Callable[[Array, Array], Optimum]
    find_resampled: Callable[[Array, Array, Array], Array]


def parabola(log_params: Array, losses: Array) -> tuple[float, float] | None:
    """Find the vertex (log N, loss) of the least-squares parabola; None if it has no minimum."""
    middle = log_params.mean()
    a, b, c = np.polyfit(log_params - middle, losses, 2)
    if a <= 0:
        return None
    return float(middle - b / (2 * a)), float(c - b * b / (4 * a))


def _parabola(x: Array, losses: Array) -> Optimum:
    sizes = distinct_sizes(x)
    lowest = float(x[np.argmin(losses)].round(9))
    if sizes.size < FEWEST:
        return _refused(f"{sizes.size} sizes; a minimum needs {FEWEST}")
    if lowest in (sizes[0], sizes[-1]):
        return _at_the_edge("the lowest loss is", lowest == sizes[0])
    vertex = parabola(x, losses)
    if vertex is None:
        return _refused("the parabola through it has no minimum")
    if not x.min() < vertex[0] < x.max():
        return _refused("the parabola's minimum is beyond its sizes")
    return Optimum(math.exp(vertex[0]), vertex[1])


def _resampled_parabola(x: Array, losses: Array, weights: Array) -> Array:
    x, middle = x - x.mean(), x.mean()
    basis = np.stack([np.ones_like(x), x, x * x])
    gram = np.einsum("rn,in,jn->rij", weights, basis, basis) + 1e-12 * np.eye(3)
    moment = np.einsum("rn,in,n->ri", weights, basis, losses)
    _, b, a = np.linalg.solve(gram, moment[:, :, None])[:, :, 0].T
    with np.errstate(all="ignore"):
        vertex = -b / (2 * a)
    inside = (a > 0) & (vertex > x.min()) & (vertex < x.max())
    return np.where(inside, vertex + middle, np.nan)


def _akima(x: Array, losses: Array) -> Optimum:
    sizes = distinct_sizes(x)
    if sizes.size < FEWEST_OF_SPLINE:
        return _refused(f"{sizes.size} sizes; a minimum needs {FEWEST_OF_SPLINE}")
    knots, values, _ = _by_size(x, np.log(losses), np.ones((1, x.size)))
    where, lowest = spline_minimum(knots[None], values)
    if not knots[0] < where[0] < knots[-1]:
        return _at_the_edge("the spline is lowest at", where[0] == knots[0])
    return Optimum(math.exp(where[0]), math.exp(lowest[0]))


def _resampled_akima(x: Array, losses: Array, weights: Array) -> Array:
    knots, values, present = _by_size(x, np.log(losses), weights)
    found = np.full(len(weights), np.nan)
    counts = present.sum(axis=1)
    for count in range(FEWEST_OF_SPLINE, knots.size + 1):
        rows = np.flatnonzero(counts == count)
        if not rows.size:
            continue
        own = np.nonzero(present[rows])[1].reshape(-1, count)
        where, _ = spline_minimum(knots[own], np.take_along_axis(values[rows], own, axis=1))
        inside = (where > knots[own[:, 0]]) & (where < knots[own[:, -1]])
        found[rows[inside]] = where[inside]
    return found


PARABOLA = Method("parabola", _parabola, _resampled_parabola)
AKIMA = Method("akima", _akima, _resampled_akima)


def spline_minimum(x: Array, y: Array) -> tuple[Array, Array]:
    """Find the lowest point ([r], [r]) of each Akima spline on a grid `FINER` than its knots.

    Args:
        x: [r, k] knots in rising order, at least three.
        y: [r, k] values there.
    """
    width = np.diff(x)
    slope = np.diff(y) / width
    # Akima (1970): two more slopes at each end, on straight lines through those of the two last.
    before = 2 * slope[:, :1] - slope[:, 1:2]
    after = 2 * slope[:, -1:] - slope[:, -2:-1]
    m = [2 * before - slope[:, :1], before, slope, after, 2 * after - slope[:, -1:]]
    m = np.concatenate(m, axis=1)
    change = np.abs(np.diff(m))
    left, right = change[:, 2:], change[:, :-2]
    total = left + right
    with np.errstate(all="ignore"):
        weighted = (left * m[:, 1:-2] + right * m[:, 2:-1]) / total
    flat = total <= 1e-9 * total.max(axis=1, keepdims=True)
    tangent = np.where(flat, 0.5 * (m[:, 3:] + m[:, :-3]), weighted)
    # Hermite's cubic between neighbours; the last knot is the end of the last piece.
    t = np.linspace(0, 1, FINER + 1)
    rise, h = np.diff(y)[:, :, None], width[:, :, None]
    start, end = h * tangent[:, :-1, None], h * tangent[:, 1:, None]
    curve = y[:, :-1, None] + t * (
        start + t * (3 * rise - 2 * start - end + t * (start + end - 2 * rise))
    )
    curve = curve.reshape(len(x), -1)
    grid = (x[:, :-1, None] + t * h).reshape(len(x), -1)
    grid[:, -1] = x[:, -1]  # exactly, so that a minimum at the edge is seen as one
    lowest = curve.argmin(axis=1)[:, None]
    return (
        np.take_along_axis(grid, lowest, axis=1)[:, 0],
        np.take_along_axis(curve, lowest, axis=1)[:, 0],
    )


def _by_size(x: Array, y: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Average y over runs of one size: knots [k], values [r, k], and which are drawn [r, k]."""
    knots, member = np.unique(x.round(9), return_inverse=True)
    belongs = (member[:, None] == np.arange(knots.size)).astype(float)
    drawn = weights @ belongs
    with np.errstate(all="ignore"):
        return knots, (weights * y) @ belongs / drawn, drawn > 0


def distinct_sizes(log_params: Array) -> Array:
    """List the distinct sizes, by their logs."""
    return np.unique(log_params.round(9))


def _refused(why: str) -> Optimum:
    return Optimum(None, None, why)


def _at_the_edge(what: str, is_smallest: bool) -> Optimum:
    which = "smallest" if is_smallest else "largest"
    return _refused(f"{what} the {which} model's: the minimum is beyond the edge")
