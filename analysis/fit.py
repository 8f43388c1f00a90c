"""The fit of one arm: a power law through its runs, and what they do and do not determine."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.laws import PowerLaw

# Runs whose FLOPs differ by less than this factor are of one size.
SAME_SIZE = 1e-6


@dataclass(frozen=True)
class Fit:
    """A power law fitted to the runs of one arm.

    `law` is None when the runs do not determine a slope, and `residual_se`, the standard error of
    log(L - E) about the line (a relative error of the reducible loss), is None without residual
    degrees of freedom.
    """

    train_flops: tuple[float, ...]
    law: PowerLaw | None
    residual_se: float | None
    n_sizes: int
    dof: int

    @property
    def n_runs(self) -> int:
        """Number of runs fitted."""
        return len(self.train_flops)

    @property
    def is_exact(self) -> bool:
        """Whether the runs lie on the law to rounding, as training runs never do."""
        return self.residual_se is not None and self.residual_se < 1e-12

    @property
    def identified(self) -> str:
        """What these runs determine, in words."""
        runs, sizes = _count(self.n_runs, "run"), _count(self.n_sizes, "size")
        if self.law is None:
            return f"nothing: {runs} at {sizes}; a slope needs two sizes"
        if self.dof == 0:
            return (
                f"a point estimate only: {runs} at {sizes} leave no residual degree of freedom; "
                "an interval needs one more run"
            )
        degrees = _count(self.dof, "residual degree")
        return f"slope and interval: {runs} at {sizes}, {degrees} of freedom"


def fit_power_law(train_flops: ArrayLike, val_loss: ArrayLike, E: float = 0.0) -> Fit:
    """Fit L(C) = E + a C^-b with E fixed, by least squares of log(L - E) on log C.

    Every run weighs the same, so the error is taken to be relative to the reducible loss. The
    solution is the closed form on centred log C, in float64.

    Args:
        train_flops: [n] training FLOPs, positive.
        val_loss: [n] validation loss in nats per token, above E.
        E: irreducible loss in nats per token.

    Raises:
        ValueError: unequal lengths, no run, or a value outside the law's domain.
    """
    C = np.asarray(train_flops, dtype=np.float64)
    L = np.asarray(val_loss, dtype=np.float64)
    if C.ndim != 1 or C.shape != L.shape or C.size == 0:
        raise ValueError(f"train_flops {C.shape} and val_loss {L.shape} must be two equal [n]")
    if not (np.isfinite(C).all() and np.isfinite(L).all() and (C > 0).all() and (L > E).all()):
        raise ValueError(f"train_flops must be finite and positive, val_loss finite and above {E=}")

    log_C, log_L = np.log(C), np.log(L - E)
    n_sizes = 1 + int((np.diff(np.sort(log_C)) > SAME_SIZE).sum())
    flops = tuple(C.tolist())
    if n_sizes < 2:
        return Fit(flops, law=None, residual_se=None, n_sizes=n_sizes, dof=0)
    x = log_C - log_C.mean()
    slope = float(x @ log_L / (x @ x))
    residuals = log_L - log_L.mean() - slope * x
    dof = C.size - 2
    return Fit(
        flops,
        law=PowerLaw(log_a=float(log_L.mean() - slope * log_C.mean()), b=-slope, E=E),
        residual_se=math.sqrt(residuals @ residuals / dof) if dof else None,
        n_sizes=n_sizes,
        dof=dof,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
