"""Several arms under one E, each with its own coefficients and exponents."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.laws.law import ABSENT_TERM, Array, Basis, Law
from analysis.laws.power import PowerSum


@dataclass(frozen=True)
class SharedE(Law):
    """One E under several arms, each with its own `inner` coefficients and exponents.

    The last row of x is the arm's index, not a logarithm. Exponents in `shared` are common to all
    arms. Names carry the arm's number: A_0, alpha_1.
    """

    inner: PowerSum
    n_arms: int
    shared: tuple[str, ...] = ()
    name: ClassVar = "shared-E"
    labels: ClassVar = frozenset({"arm"})
    formula: ClassVar = "each arm its own coefficients and exponents over one E"

    @property
    def variables(self) -> tuple[str, ...]:
        return (*self.inner.variables, "arm")

    @property
    def coefficients(self) -> tuple[str, ...]:
        own = [f"{c}_{i}" for i in range(self.n_arms) for c in self.inner.coefficients[1:]]
        return ("E", *own)

    @property
    def exponents(self) -> tuple[str, ...]:
        own = [e for e in self.inner.exponents if e not in self.shared]
        return (*self.shared, *(f"{e}_{i}" for i in range(self.n_arms) for e in own))

    def place(self, exponent: str, arm: int) -> int:
        """Find the index among `exponents` of an arm's exponent."""
        name = exponent if exponent in self.shared else f"{exponent}_{arm}"
        return self.exponents.index(name)

    def basis(self, phi: Array, x: Array) -> Basis:
        logs: list[Array] = [np.zeros(1)]
        slopes: list[list[tuple[int, Array]]] = [[]]
        for arm in range(self.n_arms):
            mine = x[-1] == arm
            for variable, (_, _, exponent) in enumerate(self.inner.powers):
                a = self.place(exponent, arm)
                logs.append(np.where(mine, -phi[:, a, None] * x[variable], ABSENT_TERM))
                slopes.append([(a, -x[variable])])
        return logs, slopes

    def grid(self) -> Array:
        return np.zeros((0, len(self.exponents)))  # fits start from lines through each arm

    def centre(self, logs: Array) -> Array:
        return np.append(logs[:-1].mean(axis=1), 0.0)

    def natural(self, theta: Array, centre: Array) -> dict[str, Array]:
        k = self.n_coefficients
        found = {"E": np.exp(theta[:, 0])}
        places = [(i, v) for i in range(self.n_arms) for v in range(len(self.inner.powers))]
        with np.errstate(over="ignore"):
            for j, (arm, variable) in enumerate(places, start=1):
                exponent = theta[:, k + self.place(self.inner.exponents[variable], arm)]
                found[self.coefficients[j]] = np.exp(theta[:, j] + exponent * centre[variable])
        return found | {name: theta[:, k + a] for a, name in enumerate(self.exponents)}
