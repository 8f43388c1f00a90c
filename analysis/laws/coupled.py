"""Laws in which parameters and tokens limit each other: the gamma form and Kaplan's."""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from analysis.laws.law import FEW_EXPONENTS, Array, Basis, Law


@dataclass(frozen=True)
class Coupled(Law):
    """The gamma form; `kaplan` ties gamma to beta and drops E.

    log g = gamma log(N^(-alpha/gamma) + exp(kappa/gamma) D^(-beta/gamma)), where kappa = log(B/A),
    so A N^-alpha and B D^-beta are the limits of endless data and of endless parameters.
    """

    kaplan: bool = False
    name: ClassVar = "gamma"
    formula: ClassVar = "L(N, D) = E + ((A N^-alpha)^(1/gamma) + (B D^-beta)^(1/gamma))^gamma"
    is_curved: ClassVar = True
    starts: ClassVar = 24

    @property
    def variables(self) -> tuple[str, ...]:
        return ("params", "tokens")

    @property
    def coefficients(self) -> tuple[str, ...]:
        return ("A",) if self.kaplan else ("E", "A")

    @property
    def exponents(self) -> tuple[str, ...]:
        return (
            ("alpha", "beta", "kappa") if self.kaplan else ("alpha", "beta", "kappa", "log_gamma")
        )

    def basis(self, phi: Array, x: Array) -> Basis:
        alpha, beta, kappa = (phi[:, a, None] for a in range(3))
        gamma = beta if self.kaplan else np.exp(phi[:, 3, None])
        in_N, in_D = -alpha * x[0], kappa - beta * x[1]
        with np.errstate(all="ignore"):  # a wild trial step is refused by its objective
            log = gamma * np.logaddexp(in_N / gamma, in_D / gamma)
            share_N = np.exp((in_N - log) / gamma)
        share_D = 1 - share_N
        spread = log - share_N * in_N - share_D * in_D  # d log g / d log gamma
        slopes = [(0, -x[0] * share_N), (1, -x[1] * share_D), (2, share_D)]
        if self.kaplan:
            with np.errstate(all="ignore"):
                slopes[1] = (1, slopes[1][1] + spread / beta)
            return [log], [slopes]
        return [np.zeros(1), log], [[], [*slopes, (3, spread)]]

    def grid(self) -> Array:
        axes: list[tuple[float, ...]] = [FEW_EXPONENTS, FEW_EXPONENTS, (-3.0, -1.0, 0.0, 1.0, 3.0)]
        return np.array(list(product(*axes, *([] if self.kaplan else [(-1.0, 0.0, 1.0)]))))

    def natural(self, theta: Array, centre: Array) -> dict[str, Array]:
        k = self.n_coefficients
        alpha, beta, kappa = (theta[:, k + a] for a in range(3))
        log_A = theta[:, k - 1]
        with np.errstate(over="ignore"):
            found = {
                "A": np.exp(log_A + alpha * centre[0]),
                "B": np.exp(log_A + kappa + beta * centre[1]),
                "alpha": alpha,
                "beta": beta,
            }
            if self.kaplan:
                return found
            return {"E": np.exp(theta[:, 0])} | found | {"gamma": np.exp(theta[:, k + 3])}


@dataclass(frozen=True)
class Kaplan(Coupled):
    """L(N, D) = ((Nc/N)^(alpha/beta) + Dc/D)^beta: Kaplan et al. 2020, eq. 1.5."""

    kaplan: bool = True
    name: ClassVar = "kaplan"
    formula: ClassVar = "L(N, D) = ((A N^-alpha)^(1/beta) + (B D^-beta)^(1/beta))^beta"
