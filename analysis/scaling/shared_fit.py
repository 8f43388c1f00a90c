"""Exponents of two arms over one E: the fit, its likelihood ratio, and sign flips of paired cells.

With an E of its own each arm can trade E for its exponent. Over a common E the exponents compare.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import fdtrc

from analysis.fitting.fit import LawFit, fit_law
from analysis.laws.law import ZERO_COEFFICIENT, Array
from analysis.laws.power import ComputeLaw
from analysis.laws.shared_e import SharedE
from analysis.scaling.contender import Contender, Labels, drawn_together
from analysis.uncertainty.bootstrap import Estimate, bootstrap

MOST_EXACT = 14  # most pairs of which all sign flips are tried
FLIPS = 10_000  # random flips of more pairs


@dataclass(frozen=True)
class SharedFit:
    """The exponents of both arms over one E; `p_likelihood` tests that they are equal."""

    E: Estimate
    reference: Estimate
    arm: Estimate
    difference: Estimate
    likelihood_ratio: float
    p_likelihood: float


@dataclass(frozen=True)
class Permutation:
    """The test of equal exponents by flipping signs of the paired residual differences."""

    pairs: int
    p: float
    smallest_p: float  # smallest p that so many pairs can give


def fit_shared(
    reference: Contender, arm: Contender, cells: tuple[Labels, Labels] | None
) -> tuple[SharedFit, LawFit]:
    """Fit both arms over one E, with exponents of their own and with one exponent.

    Args:
        reference: the arm compared with.
        arm: the other arm, under the same settings.
        cells: of the rows of each, where they are paired and drawn together; else None.

    Returns:
        The exponents with intervals, and the fit with one exponent, the null of `sign_flips`.
    """
    settings = reference.arm.settings
    columns = {
        "flops": np.concatenate([reference.table.values["flops"], arm.table.values["flops"]]),
        "arm": np.repeat([0.0, 1.0], [reference.table.n, arm.table.n]),
    }
    losses = np.concatenate([reference.table.loss, arm.table.loss])
    delta = settings.delta
    if settings.loss == "huber" and delta is None:
        delta = max(reference.fit.delta, arm.fit.delta)
    full, null = (
        fit_law(
            law,
            columns,
            losses,
            loss=settings.loss,
            delta=delta,
            E=settings.E,
            starting_points=_starting_points(law, columns, losses, settings.E),
        )
        for law in (SharedE(ComputeLaw(), 2), SharedE(ComputeLaw(), 2, shared=("b",)))
    )
    # Rows of equal label are drawn together: paired rows of both arms, else rows of one arm.
    if cells:
        labels = [f"|{cell}" for own in cells for cell in own]
    else:
        pair = (reference, arm)
        labels = [f"{o.name}|{own}" for o in pair for own in drawn_together(o.table, None)]
    draws = bootstrap(full, reference.resampling, labels)
    theta = draws.theta[~draws.failed]
    b0, b1 = (full.law.parameters.index(name) for name in ("b_0", "b_1"))
    ratio = max(2 * (null.objective - full.objective) / max(full.scale, 1e-300), 0.0)
    found = SharedFit(
        E=draws.estimate(full.params["E"], np.exp(theta[:, 0])),
        reference=draws.estimate(float(full.theta[b0]), theta[:, b0]),
        arm=draws.estimate(float(full.theta[b1]), theta[:, b1]),
        difference=draws.estimate(
            float(full.theta[b1] - full.theta[b0]), theta[:, b1] - theta[:, b0]
        ),
        likelihood_ratio=ratio,
        p_likelihood=_p_of_ratio(ratio, full),
    )
    return found, null


def _p_of_ratio(ratio: float, full: LawFit) -> float:
    """Find the ratio's p by F, exact for least squares on logs: F is dof times the relative rise of
    the squares, and the ratio is n times that rise, because the scale is the mean square."""
    dof = full.n - int(full.free.sum())
    if dof <= 0:
        return 1.0
    return float(fdtrc(1, dof, ratio / full.n * dof))


def _starting_points(
    law: SharedE, columns: dict[str, Array], losses: Array, E: float | None
) -> Array:
    """Fit lines through the logs of each arm's losses above E, or above several levels."""
    log_C = np.log(columns["flops"])
    log_C = log_C - log_C.mean()
    found = []
    levels = np.array([0.02, 0.2, 0.4, 0.6, 0.75, 0.9, 0.97]) * losses.min()
    for level in levels if E is None else [E]:
        lines = [
            np.polyfit(log_C[columns["arm"] == i], np.log(losses[columns["arm"] == i] - level), 1)
            for i in range(law.n_arms)
        ]
        slopes = [-line[0] for line in lines]
        bs = [float(np.mean(slopes))] if law.shared else slopes
        found.append(
            [math.log(level) if level else ZERO_COEFFICIENT, *(line[1] for line in lines), *bs]
        )
    return np.array(found)


def sign_flips(null: LawFit, cells: tuple[Labels, Labels], seed: int) -> Permutation:
    """Flip the signs of paired residual differences and compare their slopes on log C.

    Args:
        null: the fit with one exponent, of the rows of the first arm and then of the second.
        cells: label of each row of both arms, equal where rows form a pair.
        seed: of the flips, where they are too many to try all.
    """
    n = len(cells[0])
    residuals, log_C = -null.residuals, null.points.x[0]
    parts = ((cells[0], residuals[:n], log_C[:n]), (cells[1], residuals[n:], log_C[n:]))
    names = sorted(set(map(str, cells[1])))
    means = [
        np.array([[r[labels == name].mean(), x[labels == name].mean()] for name in names])
        for labels, r, x in parts
    ]
    d = means[1][:, 0] - means[0][:, 0]
    x = (means[0][:, 1] + means[1][:, 1]) / 2
    x, d = x - x.mean(), d - d.mean()
    if d.size <= MOST_EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=d.size)))
        drawn, smallest = np.abs(signs @ (d * x)), 2.0 / len(signs)
        p = float((drawn >= abs(d @ x) * (1 - 1e-12)).mean())
    else:
        rng = np.random.default_rng(seed)
        drawn = np.abs(rng.choice([1.0, -1.0], (FLIPS, d.size)) @ (d * x))
        p, smallest = float((1 + (drawn >= abs(d @ x)).sum()) / (1 + FLIPS)), 1 / (1 + FLIPS)
    return Permutation(d.size, p, smallest)
