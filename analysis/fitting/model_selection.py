"""Which law, and how well it foretells: AICc, leave-largest-out error, and the effect of delta."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fitting.fit import FitError, LawFit, fit_law
from analysis.laws.law import Array
from analysis.laws.registry import LAWS

DELTAS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
HELD_OUT = 0.2  # share of the runs, the largest, kept from a fit that is to foretell them


@dataclass(frozen=True)
class HeldOut:
    """How a fit to the smaller runs foretells the largest: log fitted loss minus log loss."""

    n_fitted: int
    n_held_out: int
    rms: float
    bias: float


@dataclass(frozen=True)
class Candidate:
    """One law on the same runs; `held_out` is None where the smaller runs do not fit it."""

    law: str
    fit: LawFit | None
    held_out: HeldOut | None
    why_not: str = ""


def columns_of(fit: LawFit) -> dict[str, Array]:
    """The variables that `fit` was fitted to."""
    logs = fit.points.x + fit.centre[:, None]
    return {
        name: row if name in fit.law.labels else np.exp(row)
        for name, row in zip(fit.law.variables, logs, strict=True)
    }


def size_order(columns: Mapping[str, ArrayLike]) -> NDArray[np.intp]:
    """Indices from the smallest run to the largest, by FLOPs or else by params times tokens."""
    if "flops" in columns:
        return np.argsort(np.asarray(columns["flops"], dtype=float), kind="stable")
    product = [np.log(np.asarray(columns[n], dtype=float)) for n in ("params", "tokens")]
    return np.argsort(np.sum(product, axis=0), kind="stable")


def leave_largest_out(
    fit: LawFit, columns: Mapping[str, ArrayLike], losses: ArrayLike, share: float = HELD_OUT
) -> HeldOut:
    """Refit to all but the largest runs and compare with these. Raises FitError if too few."""
    order = size_order(columns)
    cut = order.size - max(1, round(share * order.size))
    fitted, held = order[:cut], order[cut:]
    values = np.asarray(losses, dtype=float)
    refit = fit_law(
        fit.law,
        {name: np.asarray(columns[name])[fitted] for name in fit.law.variables},
        values[fitted],
        loss=fit.loss,
        delta=fit.delta if fit.loss == "huber" else None,
        E=fit.params["E"] if "E" in fit.held else None,
    )
    foretold = refit.predict({name: np.asarray(columns[name])[held] for name in fit.law.variables})
    errors = np.log(foretold) - np.log(values[held])
    return HeldOut(fitted.size, held.size, float(np.sqrt((errors**2).mean())), float(errors.mean()))


def candidates(
    columns: Mapping[str, ArrayLike],
    losses: ArrayLike,
    names: Sequence[str] = tuple(LAWS),
    **options: Any,
) -> list[Candidate]:
    """Fit every law whose variables are there; best AICc first, those that cannot be fitted last.

    AICc compares fits to the same runs with the same loss and delta.
    """
    found = []
    for name in names:
        law = LAWS[name]  # type: ignore[index]  # checked against LAWS by the caller
        if not set(law.variables) <= set(columns):
            continue
        try:
            fit = fit_law(law, columns, losses, **options)
        except FitError as error:
            found.append(Candidate(name, None, None, str(error)))
            continue
        try:
            found.append(Candidate(name, fit, leave_largest_out(fit, columns, losses)))
        except FitError as error:
            found.append(Candidate(name, fit, None, str(error)))
    return sorted(found, key=lambda c: c.fit.aicc if c.fit else float("inf"))


def delta_path(fit: LawFit, losses: ArrayLike) -> list[LawFit]:
    """The fit with absolute deviations, with each of `DELTAS`, and with squares."""
    columns = columns_of(fit)
    E = fit.params["E"] if "E" in fit.held else None
    path = [fit_law(fit.law, columns, losses, loss="huber", delta=delta, E=E) for delta in DELTAS]
    ends = [fit_law(fit.law, columns, losses, loss=end, E=E) for end in ("l1", "l2")]
    return [ends[0], *path, ends[1]]
