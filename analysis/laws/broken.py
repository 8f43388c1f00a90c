"""A power law of compute whose exponent changes once, smoothly."""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from analysis.laws.law import Array, Basis, Law


@dataclass(frozen=True)
class BrokenPower(Law):
    """One smooth break: Caballero et al. 2023 (arXiv 2210.14891), eq. 1 with n = 1."""

    name: ClassVar = "broken"
    formula: ClassVar = "L(C) = E + a C^-b (1 + (C/C_break)^(1/width))^(-change width)"
    is_curved: ClassVar = True
    starts: ClassVar = 24

    @property
    def variables(self) -> tuple[str, ...]:
        return ("flops",)

    @property
    def coefficients(self) -> tuple[str, ...]:
        return ("E", "a")

    @property
    def exponents(self) -> tuple[str, ...]:
        return ("b", "change", "log_break", "log_width")

    def basis(self, phi: Array, x: Array) -> Basis:
        b, change, place, log_width = (phi[:, a, None] for a in range(4))
        width = np.exp(log_width)
        with np.errstate(all="ignore"):
            u = (x[0] - place) / width
            soft = np.logaddexp(0, u)
            sigmoid = np.exp(u - soft)
            log = -b * x[0] - change * width * soft
            to_width = -change * width * (soft - u * sigmoid)
        slopes = [(0, -x[0] + 0 * b), (1, -width * soft), (2, change * sigmoid), (3, to_width)]
        return [np.zeros(1), log], [[], slopes]

    def grid(self) -> Array:
        steep = (0.03, 0.1, 0.2, 0.4)
        return np.array(
            list(product(steep, (-0.15, -0.05, 0.05, 0.15), (-4, -2, 0.0, 2, 4), (-1.0, 0.5)))
        )

    def natural(self, theta: Array, centre: Array) -> dict[str, Array]:
        E, a, b, change, place, log_width = theta.T
        with np.errstate(over="ignore"):
            return {
                "E": np.exp(E),
                "a": np.exp(a + b * centre[0]),
                "b": b,
                "change": change,
                "C_break": np.exp(place + centre[0]),
                "width": np.exp(log_width),
            }
