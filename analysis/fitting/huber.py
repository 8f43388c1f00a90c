"""Huber's loss as a likelihood: where it turns linear, and the spread of the errors it implies.

Errors have the density exp(-loss(r) / tau) / Z(tau), of which least squares (delta infinite) and
least absolute deviations (delta zero) are the ends: the normal and the Laplace distribution.
"""

import math

import numpy as np
from scipy.special import erf

from analysis.laws.law import Array

EFFICIENCY = 1.345  # delta in residual standard deviations: 95% efficient for Gaussian errors
MAD_TO_SD = 1.4826  # standard deviation of a Gaussian over its median absolute deviation


def robust_delta(residuals: Array, n_free: int) -> float:
    """Compute 1.345 standard deviations from the median absolute residual of a fit."""
    n = residuals.size
    spread = MAD_TO_SD * float(np.median(np.abs(residuals)))
    return max(EFFICIENCY * spread * math.sqrt(n / max(n - n_free, 1)), 1e-6)


def scale(objective: float, n: int, delta: float) -> float:
    """Compute tau, the maximum of -objective/tau - n log Z(tau) over tau."""
    if math.isinf(delta):
        return 2 * objective / n
    if delta == 0 or objective == 0:
        return objective / n
    # In u = delta^2 / tau the derivative is monotone: bisect it.
    target = objective / (n * delta * delta)
    low, high = 1e-12, 1e12
    for _ in range(200):
        u = math.sqrt(low * high)
        core = math.sqrt(2 * math.pi / u) * float(erf(math.sqrt(u / 2)))
        tails = 2 / u * math.exp(-u / 2)
        mean = (core / (2 * u) + tails / u) / (core + tails)  # of the loss, over delta^2
        low, high = (u, high) if mean > target else (low, u)
    return delta * delta / math.sqrt(low * high)


def log_normalizer(tau: float, delta: float) -> float:
    if math.isinf(delta):
        return 0.5 * math.log(2 * math.pi * tau)
    if delta == 0:
        return math.log(2 * tau)
    u = delta * delta / tau
    core = math.sqrt(2 * math.pi / u) * float(erf(math.sqrt(u / 2)))
    return math.log(delta * (core + 2 / u * math.exp(-u / 2)))
