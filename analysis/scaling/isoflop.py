"""IsoFLOP: at each budget, the model size of lowest loss, and a power law through these minima.

The minimum at a budget is read off a parabola in log N, and off an Akima spline (as Porian et al.
2024, arXiv 2406.19146, do); each method refuses budgets for itself and has its own exponents. The
parabola is biased: true curves are steeper on the side of small models, so its vertex moves with
the width and the placing of the sizes. The bias is measured on the parametric fit: the same sizes,
no noise, its parabola's vertex over its true optimum.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.fit import FitError, LawFit
from analysis.laws.law import Array
from analysis.scaling.arm import FittedArm
from analysis.scaling.budget_minimum import (
    AKIMA,
    PARABOLA,
    Method,
    Optimum,
    distinct_sizes,
    parabola,
)
from analysis.scaling.forecast import Allocation, allocate
from analysis.tables.table import Table
from analysis.uncertainty.bootstrap import Estimate, Resampling

Rows = NDArray[np.intp]

SAME_BUDGET = 0.1  # largest relative difference between neighbours in one budget
DESIGN_SIZES = 3  # sizes at one budget that make it part of an isoFLOP design


@dataclass(frozen=True)
class Minimum:
    """One budget's minimum; values are None where `refused` or `akima_refused` says why."""

    flops: float
    n: int
    parabola_params: float | None
    loss: float | None
    tokens: float | None
    refused: str
    akima_params: float | None
    akima_loss: float | None
    akima_tokens: float | None
    akima_refused: str
    bias: float | None = None  # of the parabola: vertex over optimum, on the parametric fit
    parametric_params: Estimate | None = None
    parametric_extrapolated: tuple[str, ...] = ()  # how far the law's optimum is beyond the runs


@dataclass(frozen=True)
class IsoFlop:
    """Minima, and N* = G C^a, D* = H C^b through those of each method.

    `budgets` and `budgets_akima` are the FLOPs of the budgets that the exponents rest on.
    """

    minima: tuple[Minimum, ...]
    params_exponent: Estimate | None
    tokens_exponent: Estimate | None
    budgets: tuple[float, ...]
    params_exponent_akima: Estimate | None
    tokens_exponent_akima: Estimate | None
    budgets_akima: tuple[float, ...]
    parametric_exponent: Estimate | None  # beta / (alpha + beta)


def budgets(flops: Array) -> list[Rows]:
    """Group rows by budget: FLOPs within `SAME_BUDGET` of the next smaller run's."""
    order = np.argsort(flops, kind="stable")
    gaps = np.flatnonzero(np.diff(np.log(flops[order])) > math.log1p(SAME_BUDGET))
    return np.split(order, gaps + 1)


def is_isoflop_design(table: Table) -> bool:
    """Tell whether most runs of one arm lie at budgets of three sizes or more: an isoFLOP study.

    Loss at one budget depends on its split into parameters and tokens, so such runs make no line
    of loss against FLOPs. Budgets that a chain of runs joins, each near the next, are none.
    """
    params, flops = table.values.get("params"), table.values["flops"]
    if params is None or not (np.isfinite(params) & (params > 0)).all():
        return False
    inside = sum(
        rows.size
        for rows in budgets(flops)
        if np.ptp(np.log(flops[rows])) <= math.log1p(SAME_BUDGET)
        and distinct_sizes(np.log(params[rows])).size >= DESIGN_SIZES
    )
    return 2 * inside > table.n


def isoflop(
    table: Table, factor: float, fitted: FittedArm | None, resampling: Resampling
) -> IsoFlop:
    """Find the minimum of every budget of one arm, with the parametric law's own beside it.

    Args:
        table: runs with `params` and `flops`.
        factor: k of C = k N D.
        fitted: a law in parameters and tokens through these runs, with draws; None for none.
        resampling: of the exponents of the minima.
    """
    groups = budgets(table.values["flops"])
    flops = [float(np.exp(np.log(table.values["flops"][g]).mean())) for g in groups]
    vertices, splines = (_optima(table, groups, method) for method in (PARABOLA, AKIMA))
    beside = _allocations(fitted, flops, factor)
    minima = []
    for i, (group, C) in enumerate(zip(groups, flops, strict=True)):
        one = _minimum(C, group.size, factor, vertices[i], splines[i])
        if fitted is not None and beside is not None:
            law, params = beside[i].params, table.values["params"][group]
            one = replace(
                one,
                bias=None if one.refused else _bias(fitted.fit, params, C, factor, law.value),
                parametric_params=law,
                parametric_extrapolated=beside[i].extrapolated,
            )
        minima.append(one)
    by_parabola = _growth(table, groups, flops, PARABOLA, vertices, resampling)
    by_akima = _growth(table, groups, flops, AKIMA, splines, resampling)
    return IsoFlop(
        minima=tuple(minima),
        params_exponent=by_parabola.of_params,
        tokens_exponent=by_parabola.of_tokens,
        budgets=by_parabola.budgets,
        params_exponent_akima=by_akima.of_params,
        tokens_exponent_akima=by_akima.of_tokens,
        budgets_akima=by_akima.budgets,
        parametric_exponent=_parametric_exponent(fitted) if beside is not None else None,
    )


def _allocations(
    fitted: FittedArm | None, flops: list[float], factor: float
) -> list[Allocation] | None:
    """Find the law's own optimum at each budget; None without a law, or where it has none."""
    if fitted is None or fitted.draws is None:
        return None
    try:
        return allocate(fitted, flops, factor)
    except FitError:
        return None


def _parametric_exponent(fitted: FittedArm | None) -> Estimate | None:
    """Estimate beta / (alpha + beta) of the law."""
    if fitted is None or fitted.draws is None:
        return None
    fit, draws = fitted.fit, fitted.draws
    thetas = np.concatenate([fit.theta[None], draws.theta[~draws.failed]])
    natural = fit.law.natural(thetas, fit.centre)
    exponent = natural["beta"] / (natural["alpha"] + natural["beta"])
    return draws.estimate(float(exponent[0]), exponent[1:])


def _optima(table: Table, groups: list[Rows], method: Method) -> list[Optimum]:
    log_params = np.log(table.values["params"])
    return [method.find(log_params[group], table.loss[group]) for group in groups]


def _minimum(C: float, n: int, factor: float, vertex: Optimum, spline: Optimum) -> Minimum:
    def tokens(params: float | None) -> float | None:
        return None if params is None else C / factor / params

    return Minimum(
        flops=C,
        n=n,
        parabola_params=vertex.params,
        loss=vertex.loss,
        tokens=tokens(vertex.params),
        refused=vertex.refused,
        akima_params=spline.params,
        akima_loss=spline.loss,
        akima_tokens=tokens(spline.params),
        akima_refused=spline.refused,
    )


def _bias(fit: LawFit, params: Array, C: float, factor: float, optimum: float) -> float | None:
    """Divide the parabola's vertex on the fitted law, at the same sizes, by the law's optimum."""
    vertex = parabola(
        np.log(params), fit.predict({"params": params, "tokens": C / factor / params})
    )
    return None if vertex is None else math.exp(vertex[0]) / optimum


@dataclass(frozen=True)
class _Growth:
    """Exponents of N* and D* by one method, and the FLOPs of the budgets that they rest on."""

    of_params: Estimate | None
    of_tokens: Estimate | None
    budgets: tuple[float, ...]


def _growth(
    table: Table,
    groups: list[Rows],
    flops: list[float],
    method: Method,
    optima: list[Optimum],
    resampling: Resampling,
) -> _Growth:
    """Fit log N* to log C by least squares over the budgets that have a minimum, two at least."""
    found = [(group, C, one.params) for group, C, one in zip(groups, flops, optima, strict=True)]
    found = [(group, C, params) for group, C, params in found if params is not None]
    rest_on = tuple(C for _, C, _ in found)
    if len(found) < 2:
        return _Growth(None, None, rest_on)
    log_C = np.log(rest_on) - np.log(rest_on).mean()
    slope = float(log_C @ np.log([params for *_, params in found]) / (log_C @ log_C))
    drawn = _resampled_slopes(table, [group for group, *_ in found], log_C, method, resampling)
    if not drawn.size:
        return _Growth(None, None, rest_on)
    tail = 50 * (1 - resampling.level)
    low, high = map(float, np.percentile(drawn, [tail, 100 - tail]))
    return _Growth(Estimate(slope, low, high), Estimate(1 - slope, 1 - high, 1 - low), rest_on)


def _resampled_slopes(
    table: Table, groups: list[Rows], log_C: Array, method: Method, resampling: Resampling
) -> Array:
    """Resample the slope of log N*: runs are drawn within each budget, all resamples at once."""
    rng = np.random.default_rng(resampling.seed)
    log_params = np.log(table.values["params"])
    drawn = []
    for group in groups:
        even = np.full(group.size, 1 / group.size)
        weights = rng.multinomial(group.size, even, resampling.resamples).astype(float)
        drawn.append(method.find_resampled(log_params[group], table.loss[group], weights))
    y = np.stack(drawn, axis=1)
    ok = np.isfinite(y)
    count = ok.sum(axis=1)
    x, y = ok * log_C, np.where(ok, y, 0.0)
    with np.errstate(all="ignore"):
        slopes = (count * (x * y).sum(axis=1) - x.sum(axis=1) * y.sum(axis=1)) / (
            count * (x * x).sum(axis=1) - x.sum(axis=1) ** 2
        )
    return slopes[(count >= 2) & np.isfinite(slopes)]
