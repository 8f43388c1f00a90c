"""Starting points of a fit: the best cells of a grid of exponents, coefficients in closed form.

Given the exponents a law is linear in its coefficients. All cells are solved at once by weighted
least squares of relative errors; where a coefficient would not be positive, the best of all
supports is taken, which is non-negative least squares exactly.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.derivatives import Points
from analysis.laws.law import Array, Law

# A coefficient that belongs at zero starts at this fraction of the loss, from where it may return.
TINY = 1e-4


def points_on_grid(
    law: Law, points: Points, count: int, fixed: dict[int, float] | None = None
) -> Array:
    """Choose [count, p] starting points: the grid's valleys and then its other low cells.

    Args:
        law: the law.
        points: n points.
        count: how many to give at most.
        fixed: coefficients held, as index in theta and log value.
    """
    fixed = fixed or {}
    phi = law.grid()
    if not phi.size:
        return np.zeros((0, len(law.parameters)))
    logs, _ = law.basis(phi, points.x)
    shape = (len(phi), points.n)
    basis = np.stack([np.broadcast_to(np.exp(log), shape) for log in logs], axis=1)
    basis *= np.exp(-points.log_loss)  # residuals relative to the loss
    free = [j for j in range(len(logs)) if j not in fixed]
    target = np.ones(shape)
    for j, log_value in fixed.items():
        target -= np.exp(log_value) * basis[:, j]
    gram = basis[:, free] @ basis[:, free].swapaxes(1, 2)
    moment = (basis[:, free] @ target[:, :, None])[:, :, 0]
    solved, rss = nonnegative(gram, moment)
    rss = rss + (target**2).sum(axis=1)

    floor = TINY / basis[:, free].max(axis=2)
    theta = np.empty((len(phi), len(law.parameters)))
    theta[:, free] = np.log(np.maximum(solved, floor))
    for j, log_value in fixed.items():
        theta[:, j] = log_value
    theta[:, len(logs) :] = phi
    return theta[_distinct(phi, rss, count)]


def nonnegative(gram: Array, moment: Array) -> tuple[Array, Array]:
    """Minimize c'Gc - 2m'c over c >= 0 for each [cells, k, k] gram and [cells, k] moment.

    Returns `(c, minimum)`. Every support is solved, so k is to be small (it is at most 3).
    """
    cells, k = moment.shape
    best = np.zeros((cells, k))
    value = np.zeros(cells)
    for size in range(k, 0, -1):
        todo = np.ones(cells, bool) if size == k else ~(best > 0).all(axis=1)
        if not todo.any():
            break
        for support in map(list, combinations(range(k), size)):
            G = gram[todo][:, support][:, :, support]
            m = moment[todo][:, support]
            ridge = 1e-13 * np.einsum("cii->c", G) + 1e-300
            c = np.linalg.solve(G + ridge[:, None, None] * np.eye(size), m[:, :, None])[:, :, 0]
            found = np.where((c > 0).all(axis=1), -(m * c).sum(axis=1), np.inf)
            rows = np.flatnonzero(todo)
            wins = found < value[rows]
            value[rows[wins]] = found[wins]
            filled = np.zeros((int(wins.sum()), k))
            filled[:, support] = c[wins]
            best[rows[wins]] = filled
    return best, value


def _distinct(phi: Array, rss: Array, count: int) -> NDArray[np.intp]:
    """Order cells: those lower than all their neighbours, then the lowest of the others."""
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in phi.T], axis=1)
    near = (np.abs(ranks[:, None] - ranks[None]) <= 1).all(axis=2)
    is_valley = rss <= np.where(near, rss[None], np.inf).min(axis=1)
    return np.lexsort((rss, ~is_valley))[:count]
