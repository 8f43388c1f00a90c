"""The base of all laws: a loss as a function of parameters, tokens or FLOPs.

Every law is a sum of terms, each a positive coefficient times a basis that depends on a few
exponents: L = sum_j exp(theta_j) g_j(x; phi). Fits work on the logarithms of the coefficients and
on centred logarithms of the variables, so that a coefficient is the term's size amid the runs
rather than at one parameter and one token; `natural` gives the numbers that papers print. `basis`
returns log g_j and its derivatives, which is all that a fit and a forecast need.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

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
ABSENT_TERM = -1e4  # a log basis whose exponential is zero, without the warnings of an infinity
ZERO_COEFFICIENT = -1e3  # the log of a coefficient that is zero
STEEPEST = 5.0  # largest exponent that a scaling law can have


class Law(ABC):
    """A law's names, basis and grid of exponents; `x` is [variables, n] of centred logs."""

    name: ClassVar[str]
    formula: ClassVar[str]
    # Whether the derivatives of log g depend on phi; where they do not, g is a pure power.
    is_curved: ClassVar[bool] = False
    starts: ClassVar[int] = 4  # cells of the grid refined; more where minima are many
    labels: ClassVar[frozenset[str]] = frozenset()  # variables that name an arm and are not logged

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
        """Compute log g_j and its derivatives at phi [r, q] and x [variables, n]."""

    @abstractmethod
    def grid(self) -> Array:
        """List [cells, q] exponents from which fits start; none where fits bring their own."""

    @abstractmethod
    def natural(self, theta: Array, centre: Array) -> dict[str, Array]:
        """Compute the printed parameters, [r] each, of theta [r, p] fitted to centred logs.

        Coefficients other than E may overflow to infinity: they are losses extrapolated to one
        parameter, token or FLOP.
        """

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in the order of theta: logs of the coefficients, then the exponents."""
        return (*self.coefficients, *self.exponents)

    @property
    def powers_of_scale(self) -> tuple[str, ...]:
        """The exponents that say how fast loss falls; see `is_scaling`."""
        return tuple(e for e in self.exponents if e.split("_")[0] in ("alpha", "beta", "b"))

    @property
    def n_coefficients(self) -> int:
        """Number of linear coefficients."""
        return len(self.coefficients)

    def centre(self, logs: Array) -> Array:
        """Compute what is taken off `logs` [variables, n]: the mean of each variable."""
        return logs.mean(axis=1)

    def log_loss(self, theta: Array, x: Array) -> Array:
        """Compute the log of the loss [r, n] for theta [r, p] at x [variables, n]."""
        k = self.n_coefficients
        logs, _ = self.basis(theta[:, k:], x)
        terms = [theta[:, j, None] + log for j, log in enumerate(logs)]
        total = terms[0]
        for term in terms[1:]:
            total = np.logaddexp(total, term)
        return np.broadcast_to(total, (len(theta), x.shape[1]))


def is_scaling(exponent: Array | float) -> NDArray[np.bool_]:
    """Tell which exponents a scaling law can have: those above 0 and at most `STEEPEST`."""
    values = np.asarray(exponent)
    return (values > 0) & (values <= STEEPEST)
