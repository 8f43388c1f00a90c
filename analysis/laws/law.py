"""The laws: what loss is said to be as a function of what a run costs.

Every law is a sum of terms, each a positive coefficient times a basis that depends on a few
exponents: L = sum_j exp(theta_j) g_j(x; phi). Fits work on the logarithms of the coefficients and
on centred logarithms of the variables, so that a coefficient is the term's size amid the runs
rather than at one parameter and one token; `natural` gives the numbers that papers print. `basis`
returns log g_j and its derivatives, which is all that seeding, refinement and prediction need.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# For each coefficient: log g_j, [r, n] or broadcastable to it, and the derivatives of log g_j as
# (index of the exponent, values), absent where they are zero.
Basis = tuple[list[Array], list[list[tuple[int, Array]]]]

EXPONENTS = (0.02, 0.06, 0.12, 0.19, 0.27, 0.36, 0.46, 0.6, 0.9, 1.6)
FEW_EXPONENTS = (0.06, 0.15, 0.3, 0.5, 0.9)
# What a paper prints in place of a parameter of the fit.
PRINTED = {
    "kappa": "B",
    "log_gamma": "gamma",
    "log_R_star": "R_star",
    "log_break": "C_break",
    "log_width": "width",
}
ABSENT = -1e4  # a log basis whose exponential is zero, without the warnings of an infinity


class Law(ABC):
    """A law's names, basis and seeds; `x` is [variables, n] of centred logs throughout."""

    name: ClassVar[str]
    formula: ClassVar[str]
    # Whether the derivatives of log g depend on phi; where they do not, g is a pure power.
    is_curved: ClassVar[bool] = False
    starts: ClassVar[int] = 4  # cells of the grid refined; more where minima are many

    @property
    @abstractmethod
    def variables(self) -> tuple[str, ...]:
        """The columns it reads, all logged: params, tokens, flops, unique_tokens."""

    @property
    @abstractmethod
    def coefficients(self) -> tuple[str, ...]:
        """Names of the linear coefficients, E first where there is one."""

    @property
    @abstractmethod
    def exponents(self) -> tuple[str, ...]:
        """Names of the parameters of the basis."""

    @abstractmethod
    def basis(self, phi: Array, x: Array) -> Basis:
        """Log basis and derivatives at phi [r, q] and x [variables, n]."""

    @abstractmethod
    def grid(self) -> Array:
        """[cells, q] exponents from which fits are seeded."""

    @abstractmethod
    def natural(self, theta: Array, centre: Array) -> dict[str, Array]:
        """Printed parameters, [r] each, of theta [r, p] fitted to logs centred at `centre`.

        Coefficients other than E may overflow to infinity: they are losses extrapolated to one
        parameter, token or FLOP.
        """

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in the order of theta: logs of the coefficients, then the exponents."""
        return (*self.coefficients, *self.exponents)

    @property
    def powers_of_scale(self) -> tuple[str, ...]:
        """The exponents that say how fast loss falls, which a scaling law has between 0 and 5."""
        return tuple(e for e in self.exponents if e.split("_")[0] in ("alpha", "beta", "b"))

    @property
    def n_coefficients(self) -> int:
        """Number of linear coefficients."""
        return len(self.coefficients)

    def log_loss(self, theta: Array, x: Array) -> Array:
        """[r, n] log of the loss for theta [r, p] at x [variables, n]."""
        k = self.n_coefficients
        logs, _ = self.basis(theta[:, k:], x)
        terms = [theta[:, j, None] + log for j, log in enumerate(logs)]
        total = terms[0]
        for term in terms[1:]:
            total = np.logaddexp(total, term)
        return np.broadcast_to(total, (len(theta), x.shape[1]))


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


@dataclass(frozen=True)
class DataConstrained(Law):
    """Chinchilla on the worth of repeated tokens: Muennighoff et al. 2023 (arXiv 2305.16264).

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
        # tokens and unique_tokens share one centre (see `centre_of`), so their ratio survives.
        repeats = np.maximum(np.expm1(x[1] - x[2]), 0)
        with np.errstate(all="ignore"):
            half_life = np.exp(log_R)
            ratio = repeats / half_life
            decay = np.exp(-ratio)
            worth = 1 + half_life * -np.expm1(-ratio)
            log_D = x[2] + np.log(worth)
            to_R = -beta * half_life * (1 - decay - ratio * decay) / worth
        logs = [np.zeros(1), -alpha * x[0], -beta * log_D]
        return logs, [[], [(0, -x[0] + 0 * alpha)], [(1, -log_D), (2, to_R)]]

    def grid(self) -> Array:
        return np.array(list(product(FEW_EXPONENTS, FEW_EXPONENTS, np.log([1.0, 5.0, 15.0, 60.0]))))

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


LawName = Literal["compute", "chinchilla", "kaplan", "gamma", "broken", "data-constrained"]
LAWS: dict[LawName, Law] = {
    "compute": ComputeLaw(),
    "chinchilla": Chinchilla(),
    "kaplan": Kaplan(),
    "gamma": Coupled(),
    "broken": BrokenPower(),
    "data-constrained": DataConstrained(),
}


def centre_of(law: Law, logs: Array) -> Array:
    """[variables] means of the logged variables; an arm's index stays as it is."""
    centre = logs.mean(axis=1)
    if "arm" in law.variables:
        centre[law.variables.index("arm")] = 0.0
    if "unique_tokens" in law.variables:
        centre[law.variables.index("unique_tokens")] = centre[law.variables.index("tokens")]
    return centre
