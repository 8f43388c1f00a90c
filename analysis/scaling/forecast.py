"""The loss forecast at a target, and the compute-optimal split of a budget of FLOPs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.fitting.fit import FitError, LawFit, logs_of
from analysis.laws.coupled import Coupled
from analysis.laws.law import Array
from analysis.laws.power import Chinchilla
from analysis.scaling.arm import FittedArm
from analysis.uncertainty.bootstrap import Draws, Estimate


@dataclass(frozen=True)
class Forecast:
    """The law's loss at a target, and where one new run's loss would fall."""

    target: dict[str, float]
    loss: Estimate  # the law's
    new_run: Estimate  # with the spread of single runs about the law
    extrapolated: tuple[str, ...]  # variables beyond the runs' range, with how many times


@dataclass(frozen=True)
class Allocation:
    """The parameters and tokens that give the lowest loss for `flops` = k N D."""

    flops: float
    params: Estimate
    tokens: Estimate
    loss: Estimate
    tokens_per_param: Estimate
    extrapolated: tuple[str, ...]  # of FLOPs, parameters and tokens those beyond the runs' range


def forecast(arm: FittedArm, targets: list[dict[str, float]], seed: int = 0) -> list[Forecast]:
    """Forecast the loss at each target.

    Args:
        arm: an arm with draws.
        targets: values of the law's variables.
        seed: of the errors of one new run.

    Raises:
        FitError: a target lacks a variable.
    """
    fit, draws = arm.fit, _draws(arm)
    found = []
    rng = np.random.default_rng(seed)
    for target in targets:
        x = logs_of(fit.law, target) - fit.centre[:, None]
        value = float(np.exp(fit.law.log_loss(fit.theta[None], x))[0, 0])
        drawn = draws.log_loss(x)[:, 0]
        noise = rng.choice(fit.spread, drawn.size)
        found.append(
            Forecast(
                dict(target),
                draws.estimate(value, np.exp(drawn)),
                draws.estimate(value, np.exp(drawn - noise)),
                beyond_the_runs(arm, target),
            )
        )
    return found


def beyond_the_runs(arm: FittedArm, place: Mapping[str, float]) -> tuple[str, ...]:
    """Say which values of `place` lie beyond the runs' range, and how many times.

    Where none does, parameters times tokens may: the largest model at the most tokens is a run that
    nobody made.
    """
    runs = arm.table.values
    far = _beyond({name: runs[name] for name in place}, place)
    if not far and {"params", "tokens"} <= set(place):
        product = {"params x tokens": runs["params"] * runs["tokens"]}
        far = _beyond(product, {"params x tokens": place["params"] * place["tokens"]})
    return far


def _beyond(runs: Mapping[str, Array], place: Mapping[str, float]) -> tuple[str, ...]:
    found = []
    for name, values in runs.items():
        least, most, value = float(values.min()), float(values.max()), place[name]
        if value > most * (1 + 1e-9):
            found.append(f"{name} {value / most:.3g} times the largest run")
        elif value < least * (1 - 1e-9):
            found.append(f"{name} {least / value:.3g} times below the smallest run")
    return tuple(found)


def flops_factor(columns: Mapping[str, ArrayLike]) -> float:
    """Find k of C = k N D as the table counts FLOPs: the median over runs, 6 without FLOPs."""
    if not {"flops", "params", "tokens"} <= set(columns):
        return 6.0
    C, N, D = (np.asarray(columns[name], dtype=float) for name in ("flops", "params", "tokens"))
    factor = C / N / D
    factor = factor[np.isfinite(factor) & (factor > 0)]
    return float(np.median(factor)) if factor.size else 6.0


def allocate(arm: FittedArm, flops: list[float], factor: float = 6.0) -> list[Allocation]:
    """Split each budget C into the N* and D* of lowest loss, under C = factor N D.

    Raises:
        FitError: a law without both parameters and tokens, or one that has no optimum.
    """
    fit, draws = arm.fit, _draws(arm)
    if not isinstance(fit.law, Chinchilla | Coupled):
        raise FitError(
            f"law {fit.law.name} has no split of compute; use chinchilla, kaplan or gamma"
        )
    drawn = draws.theta[~draws.failed]
    runs = {name: arm.table.values[name] for name in ("params", "tokens")}
    runs = {"flops": factor * runs["params"] * runs["tokens"], **runs}
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
        params, tokens = _of_logs(draws, n, ns), _of_logs(draws, total - n, total - ns)
        place = {"flops": C, "params": params.value, "tokens": tokens.value}
        found.append(
            Allocation(
                flops=C,
                params=params,
                tokens=tokens,
                loss=draws.estimate(float(loss[0]), losses),
                tokens_per_param=_of_logs(draws, total - 2 * n, total - 2 * ns),
                extrapolated=_beyond(runs, place),
            )
        )
    return found


def _draws(arm: FittedArm) -> Draws:
    if arm.draws is None:
        raise FitError("a forecast needs intervals; resample the arm")
    return arm.draws


def _of_logs(draws: Draws, log_value: Array, drawn: Array) -> Estimate:
    """Estimate a quantity from its logs; infinite where the runs leave it open altogether."""
    with np.errstate(over="ignore"):
        return draws.estimate(float(np.exp(log_value[0])), np.exp(drawn))


def _optimal_log_params(fit: LawFit, theta: Array, product: float) -> Array:
    """Solve for log N, [r], of lowest loss at N D = product: alpha u = beta v of its two powers."""
    _, log_A, log_B, alpha, beta, gamma = _powers(fit, theta)
    with np.errstate(all="ignore"):
        a, b = alpha / gamma, beta / gamma
        ratio = (log_A - log_B) / gamma + np.log(a / b)
        log_N = (ratio + b * math.log(product)) / (a + b)
    return np.where((alpha > 0) & (beta > 0) & (gamma > 0), log_N, np.nan)


def _loss_at(fit: LawFit, theta: Array, log_N: Array, log_D: Array) -> Array:
    """Compute the loss, [r], of each theta at its own N and D."""
    E, log_A, log_B, alpha, beta, gamma = _powers(fit, theta)
    u, v = (log_A - alpha * log_N) / gamma, (log_B - beta * log_D) / gamma
    return E + np.exp(gamma * np.logaddexp(u, v))


def _powers(fit: LawFit, theta: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Give E, log A, log B, alpha, beta, gamma of E + ((A N^-alpha)^(1/gamma) + ...)^gamma."""
    natural = fit.law.natural(theta, fit.centre)
    alpha, beta = natural["alpha"], natural["beta"]
    gamma = natural.get("gamma", beta if fit.law.name == "kaplan" else np.ones(len(theta)))
    with np.errstate(all="ignore"):
        logs = np.log(natural["A"]), np.log(natural["B"])
    return natural.get("E", np.zeros(len(theta))), *logs, alpha, beta, gamma
