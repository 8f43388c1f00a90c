"""Sums of powers: a constant E and one falling power for each variable."""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from analysis.laws.law import EXPONENTS, Array, Basis, Law


@dataclass(frozen=True)
class PowerSum(Law):
    """A constant E and one power for each variable."""

    powers: ClassVar[tuple[tuple[str, str, str], ...]]  # coefficient, variable, exponent

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(variable for _, variable, _ in self.powers)

    @property
    def coefficients(self) -> tuple[str, ...]:
        return ("E", *(name for name, _, _ in self.powers))

    @property
    def exponents(self) -> tuple[str, ...]:
        return tuple(exponent for _, _, exponent in self.powers)

    def basis(self, phi: Array, x: Array) -> Basis:
        logs = [-phi[:, a, None] * x[a] for a in range(len(self.powers))]
        slopes = [[(a, -x[a])] for a in range(len(self.powers))]
        return [np.zeros(1), *logs], [[], *slopes]

    def grid(self) -> Array:
        return np.array(list(product(EXPONENTS, repeat=len(self.powers))))

    def natural(self, theta: Array, centre: Array) -> dict[str, Array]:
        k = self.n_coefficients
        found = {"E": np.exp(theta[:, 0])}
        with np.errstate(over="ignore"):
            for a, (coefficient, _, _) in enumerate(self.powers):
                found[coefficient] = np.exp(
                    theta[:, k - len(self.powers) + a] + theta[:, k + a] * centre[a]
                )
        return found | {name: theta[:, k + a] for a, name in enumerate(self.exponents)}


@dataclass(frozen=True)
class ComputeLaw(PowerSum):
    """L(C) = E + a C^-b. With E held at 0, Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.3."""

    name: ClassVar = "compute"
    formula: ClassVar = "L(C) = E + a C^-b"
    powers: ClassVar = (("a", "flops", "b"),)


@dataclass(frozen=True)
class Chinchilla(PowerSum):
    """L(N, D) = E + A N^-alpha + B D^-beta: Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2."""

    name: ClassVar = "chinchilla"
    formula: ClassVar = "L(N, D) = E + A N^-alpha + B D^-beta"
    powers: ClassVar = (("A", "params", "alpha"), ("B", "tokens", "beta"))
