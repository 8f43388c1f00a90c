"""Chinchilla's law where tokens repeat."""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from analysis.laws.law import FEW_EXPONENTS, Array, Basis, Law


@dataclass(frozen=True)
class DataConstrained(Law):
    """Chinchilla's law with repeated tokens: Muennighoff et al. 2023 (arXiv 2305.16264).

    Of D tokens U are unique and the rest repeat them R = D/U - 1 times; they are worth
    D' = U (1 + R* (1 - exp(-R/R*))). The matching discount of excess parameters is left out.
    """

    name: ClassVar = "data-constrained"
    formula: ClassVar = "L(N, D, U) = E + A N^-alpha + B D'^-beta, D' = U(1 + R*(1 - exp(-R/R*)))"
    is_curved: ClassVar = True
    starts: ClassVar = 24

    @property
    def variables(self) -> tuple[str, ...]:
        return ("params", "tokens", "unique_tokens")

    @property
    def coefficients(self) -> tuple[str, ...]:
        return ("E", "A", "B")

    @property
    def exponents(self) -> tuple[str, ...]:
        return ("alpha", "beta", "log_R_star")

    def basis(self, phi: Array, x: Array) -> Basis:
        alpha, beta, log_R = (phi[:, a, None] for a in range(3))
        # tokens and unique_tokens share one centre (see `centre`), so their ratio survives.
        repeats = np.maximum(np.expm1(x[1] - x[2]), 0)
        with np.errstate(all="ignore"):
            half_life = np.exp(np.clip(log_R, -500, 500))  # beyond, nothing changes but overflow
            ratio = repeats / half_life
            decay = np.exp(-ratio)
            worth = 1 + half_life * -np.expm1(-ratio)
            log_D = x[2] + np.log(worth)
            to_R = -beta * half_life * (1 - decay - ratio * decay) / worth
        logs = [np.zeros(1), -alpha * x[0], -beta * log_D]
        return logs, [[], [(0, -x[0] + 0 * alpha)], [(1, -log_D), (2, to_R)]]

    def grid(self) -> Array:
        return np.array(list(product(FEW_EXPONENTS, FEW_EXPONENTS, np.log([1.0, 5.0, 15.0, 60.0]))))

    def centre(self, logs: Array) -> Array:
        params, tokens, _ = logs.mean(axis=1)
        return np.array([params, tokens, tokens])

    def natural(self, theta: Array, centre: Array) -> dict[str, Array]:
        E, A, B, alpha, beta, log_R = theta.T
        with np.errstate(over="ignore"):
            return {
                "E": np.exp(E),
                "A": np.exp(A + alpha * centre[0]),
                "B": np.exp(B + beta * centre[1]),
                "alpha": alpha,
                "beta": beta,
                "R_star": np.exp(log_R),
            }
