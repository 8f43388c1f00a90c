"""Prediction at a target, the compute-optimal split, and how past predictions would have fared."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.fitting.fit import FitError, LawFit, fit_law, logs_of
from analysis.fitting.model_selection import size_order
from analysis.laws.coupled import Coupled
from analysis.laws.law import Array
from analysis.laws.power import Chinchilla
from analysis.uncertainty.bootstrap import Draws, Estimate, Resampling, bootstrap

ROLLOUT_RESAMPLES = 400
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)  # share of the runs, the smallest, that a rollout is fitted to


@dataclass(frozen=True)
class Prediction:
    """The law's loss at a target, and where one new run's loss would fall."""

    target: dict[str, float]
    loss: Estimate  # of the law
    new_run: Estimate  # of one run: the law's interval and the spread of runs about it
    extrapolated: tuple[str, ...]  # variables beyond the runs' range, with how many times


@dataclass(frozen=True)
class Allocation:
    """The parameters and tokens that give the lowest loss for `flops` = k N D."""

    flops: float
    params: Estimate
    tokens: Estimate
    loss: Estimate
    tokens_per_param: Estimate


@dataclass(frozen=True)
class Rollout:
    """Fits to the smaller runs only, each held against the larger ones it had not seen."""

    n_fitted: int
    n_foretold: int
    rms: float
    bias: float
    coverage: float  # share of the larger runs inside their intervals
    level: float


def predict(
    fit: LawFit, draws: Draws, targets: list[dict[str, float]], seed: int = 0
) -> list[Prediction]:
    """Loss at each target, given by the law's variables. Raises FitError for a missing one."""
    found = []
    rng = np.random.default_rng(seed)
    for target in targets:
        x = logs_of(fit.law, target) - fit.centre[:, None]
        value = float(np.exp(fit.law.log_loss(fit.theta[None], x))[0, 0])
        drawn = draws.log_loss(x)[:, 0]
        noise = rng.choice(_spread(fit), drawn.size)
        far = tuple(
            f"{name} {_times(x[v, 0], row)}"
            for v, (name, row) in enumerate(zip(fit.law.variables, fit.points.x, strict=True))
            if not row.min() - 1e-9 <= x[v, 0] <= row.max() + 1e-9
        )
        found.append(
            Prediction(
                dict(target),
                draws.estimate(value, np.exp(drawn)),
                draws.estimate(value, np.exp(drawn - noise)),
                far,
            )
        )
    return found


def flops_factor(columns: Mapping[str, ArrayLike]) -> float:
    """k of C = k N D as the table counts FLOPs: the median over runs, or 6 without FLOPs."""
    if not {"flops", "params", "tokens"} <= set(columns):
        return 6.0
    C, N, D = (np.asarray(columns[name], dtype=float) for name in ("flops", "params", "tokens"))
    factor = C / N / D
    factor = factor[np.isfinite(factor) & (factor > 0)]
    return float(np.median(factor)) if factor.size else 6.0


def allocate(
    fit: LawFit, draws: Draws, flops: list[float], factor: float = 6.0
) -> list[Allocation]:
    """Compute-optimal N*(C) and D*(C) under C = factor N D.

    Raises:
        FitError: a law without both parameters and tokens, or one that has no optimum.
    """
    if not isinstance(fit.law, Chinchilla | Coupled):
        raise FitError(
            f"law {fit.law.name} has no split of compute; use chinchilla, kaplan or gamma"
        )
    drawn = draws.theta[~draws.failed]
    found = []
    for C in flops:
        log_N = _optimal_log_params(fit, fit.theta[None], C / factor)
        if not np.isfinite(log_N).all():
            raise FitError("an exponent is not positive: the fitted law has no optimum")
        log_Ns = _optimal_log_params(fit, drawn, C / factor)
        ok = np.isfinite(log_Ns)
        total = math.log(C / factor)
        loss = _loss_at(fit, fit.theta[None], log_N, total - log_N)
        losses = _loss_at(fit, drawn[ok], log_Ns[ok], total - log_Ns[ok])
        n, ns = log_N, log_Ns[ok]
        found.append(
            Allocation(
                C,
                _of_logs(draws, n, ns),
                _of_logs(draws, total - n, total - ns),
                draws.estimate(float(loss[0]), losses),
                _of_logs(draws, total - 2 * n, total - 2 * ns),
            )
        )
    return found


def _of_logs(draws: Draws, log_value: Array, drawn: Array) -> Estimate:
    """The estimate of a quantity from its logs; infinite where runs leave it open altogether."""
    with np.errstate(over="ignore"):
        return draws.estimate(float(np.exp(log_value[0])), np.exp(drawn))


def rollout(
    fit: LawFit, columns: Mapping[str, ArrayLike], losses: ArrayLike, resampling: Resampling
) -> list[Rollout]:
    """Refit to the smallest runs, for each of `CUTS`, and foretell the others."""
    order = size_order(columns)
    values = np.asarray(losses, dtype=float)
    found = []
    for cut in CUTS:
        fitted, held = np.split(order, [round(cut * order.size)])
        part = {name: np.asarray(columns[name])[fitted] for name in fit.law.variables}
        try:
            refit = fit_law(
                fit.law,
                part,
                values[fitted],
                loss=fit.loss,
                delta=fit.delta if fit.loss == "huber" else None,
                E=fit.params["E"] if "E" in fit.held else None,
            )
        except FitError:
            continue
        if not held.size:
            continue
        draws = bootstrap(refit, Resampling(ROLLOUT_RESAMPLES, resampling.level, resampling.seed))
        targets = {name: np.asarray(columns[name])[held] for name in fit.law.variables}
        x = logs_of(fit.law, targets) - refit.centre[:, None]
        rng = np.random.default_rng(resampling.seed)
        drawn = draws.log_loss(x)
        drawn = drawn - rng.choice(_spread(refit), drawn.shape)
        tail = 50 * (1 - resampling.level)
        low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
        truth = np.log(values[held])
        errors = refit.law.log_loss(refit.theta[None], x)[0] - truth
        found.append(
            Rollout(
                n_fitted=fitted.size,
                n_foretold=held.size,
                rms=float(np.sqrt((errors**2).mean())),
                bias=float(errors.mean()),
                coverage=float(((low <= truth) & (truth <= high)).mean()),
                level=resampling.level,
            )
        )
    return found


def _spread(fit: LawFit) -> Array:
    """Residuals, widened for the parameters that were fitted to them."""
    return fit.residuals * math.sqrt(fit.n / max(fit.n - int(fit.free.sum()), 1))


def _times(x: float, row: Array) -> str:
    if x > row.max():
        return f"{math.exp(x - row.max()):.3g} times the largest run"
    return f"{math.exp(row.min() - x):.3g} times below the smallest run"


def _optimal_log_params(fit: LawFit, theta: Array, product: float) -> Array:
    """[r] log N that minimizes loss at N D = product: alpha u = beta v for the law's two powers."""
    _, log_A, log_B, alpha, beta, gamma = _powers(fit, theta)
    with np.errstate(all="ignore"):
        a, b = alpha / gamma, beta / gamma
        ratio = (log_A - log_B) / gamma + np.log(a / b)
        log_N = (ratio + b * math.log(product)) / (a + b)
    return np.where((alpha > 0) & (beta > 0) & (gamma > 0), log_N, np.nan)


def _loss_at(fit: LawFit, theta: Array, log_N: Array, log_D: Array) -> Array:
    """[r] loss of each theta at its own N and D."""
    E, log_A, log_B, alpha, beta, gamma = _powers(fit, theta)
    u, v = (log_A - alpha * log_N) / gamma, (log_B - beta * log_D) / gamma
    return E + np.exp(gamma * np.logaddexp(u, v))


def _powers(fit: LawFit, theta: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """E, log A, log B, alpha, beta, gamma of (E + (A N^-alpha)^(1/gamma) + ...)^gamma."""
    natural = fit.law.natural(theta, fit.centre)
    alpha, beta = natural["alpha"], natural["beta"]
    gamma = natural.get("gamma", beta if fit.law.name == "kaplan" else np.ones(len(theta)))
    with np.errstate(all="ignore"):
        logs = np.log(natural["A"]), np.log(natural["B"])
    return natural.get("E", np.zeros(len(theta))), *logs, alpha, beta, gamma
