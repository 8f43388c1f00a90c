"""Exponents of two arms over one E: the fit, its likelihood ratio, and sign flips of paired cells.

With an E of its own each arm can trade E for its exponent. Over a common E the exponents compare.
"""

import math
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from analysis.fitting.fit import LawFit, Loss, fit_law
from analysis.laws.law import ZERO_COEFFICIENT, Array
from analysis.laws.power import ComputeLaw
from analysis.laws.shared_e import SharedE
from analysis.tables.table import Table
from analysis.uncertainty.bootstrap import Draws, Estimate, Resampling, bootstrap

MOST_EXACT = 14  # pairs of which all sign flips are enumerated
FLIPS = 10_000


@dataclass(frozen=True)
class SharedFit:
    """Exponents over one E; `p_likelihood` tests that they are equal."""

    E: Estimate
    reference: Estimate
    arm: Estimate
    difference: Estimate
    likelihood_ratio: float
    p_likelihood: float


@dataclass(frozen=True)
class Permutation:
    """Sign flips of the paired cells' residual differences under equal exponents."""

    pairs: int
    p: float
    smallest_p: float  # that so many pairs can give


@dataclass(frozen=True)
class ArmLaw:
    """An arm's own fit of L(C) with its resamples."""

    name: str
    table: Table
    fit: LawFit
    draws: Draws


@dataclass(frozen=True)
class Options:
    """How arms are fitted and resampled; E None leaves it free where sizes allow."""

    loss: Loss = "huber"
    delta: float | None = None
    E: float | None = None
    resampling: Resampling = field(default_factory=Resampling)
    extrapolate: bool = False


def holm(p_values: list[float]) -> list[float]:
    """P-values adjusted for their number by Holm's method, in the order given."""
    order = np.argsort(p_values)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[int(i)] = running
    return adjusted


def fit_shared(
    reference: ArmLaw, arm: ArmLaw, options: Options, cells: dict[str, NDArray[np.object_]] | None
) -> tuple[SharedFit, LawFit]:
    columns = {
        "flops": np.concatenate([reference.table.values["flops"], arm.table.values["flops"]]),
        "arm": np.repeat([0.0, 1.0], [reference.table.n, arm.table.n]),
    }
    losses = np.concatenate([reference.table.loss, arm.table.loss])
    delta = options.delta
    if options.loss == "huber" and delta is None:
        delta = max(reference.fit.delta, arm.fit.delta)
    full, null = (
        fit_law(
            law,
            columns,
            losses,
            loss=options.loss,
            delta=delta,
            E=options.E,
            seeds=_shared_seeds(law, columns, losses, options.E),
        )
        for law in (SharedE(ComputeLaw(), 2), SharedE(ComputeLaw(), 2, shared=("b",)))
    )
    labels = [
        f"{'' if cells else one.name}|{label}"
        for one in (reference, arm)
        for label in clusters_of(one.table, cells, one.name)
    ]
    draws = bootstrap(full, options.resampling, labels)
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


def clusters_of(
    table: Table, cells: dict[str, NDArray[np.object_]] | None, name: str
) -> NDArray[np.object_]:
    """The labels that resampling draws: paired cells, training runs, or else single rows."""
    if cells is not None:
        return cells[name]
    if table.group is not None:
        return table.group
    return np.arange(table.n).astype(object)


def _p_of_ratio(ratio: float, full: LawFit) -> float:
    """The ratio's p by F where runs are few: exp(ratio / n) - 1 is the relative fall of squares."""
    dof = full.n - int(full.free.sum())
    if dof <= 0:
        return 1.0
    return float(fdtrc(1, dof, math.expm1(min(ratio / full.n, 500)) * dof))


def _shared_seeds(law: SharedE, columns: dict[str, Array], losses: Array, E: float | None) -> Array:
    log_C = np.log(columns["flops"])
    log_C = log_C - log_C.mean()
    seeds = []
    levels = np.array([0.02, 0.2, 0.4, 0.6, 0.75, 0.9, 0.97]) * losses.min()
    for level in levels if E is None else [E]:
        lines = [
            np.polyfit(log_C[columns["arm"] == i], np.log(losses[columns["arm"] == i] - level), 1)
            for i in range(law.n_arms)
        ]
        slopes = [-line[0] for line in lines]
        bs = [float(np.mean(slopes))] if law.shared else slopes
        seeds.append(
            [math.log(level) if level else ZERO_COEFFICIENT, *(line[1] for line in lines), *bs]
        )
    return np.array(seeds)


def sign_flips(
    null: LawFit,
    reference: ArmLaw,
    arm: ArmLaw,
    cells: dict[str, NDArray[np.object_]],
    options: Options,
) -> Permutation:
    """Flip the signs of paired residual differences and compare their slopes on log C."""
    n = reference.table.n
    residuals, log_C = -null.residuals, null.points.x[0]
    parts = (
        (cells[reference.name], residuals[:n], log_C[:n]),
        (cells[arm.name], residuals[n:], log_C[n:]),
    )
    names = sorted(set(map(str, cells[arm.name])))
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
        rng = np.random.default_rng(options.resampling.seed)
        drawn = np.abs(rng.choice([1.0, -1.0], (FLIPS, d.size)) @ (d * x))
        p, smallest = float((1 + (drawn >= abs(d @ x)).sum()) / (1 + FLIPS)), 1 / (1 + FLIPS)
    return Permutation(d.size, p, smallest)
