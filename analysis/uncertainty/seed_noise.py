"""Seed noise and lack of fit, where runs of one size repeat with other seeds."""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from analysis.fitting.fit import LawFit


@dataclass(frozen=True)
class SeedNoise:
    """The spread of repeats, and whether the law misses more than it explains.

    `sd` is relative to the loss. `lack_of_fit_p` is the F test of the law's own misses against the
    repeats' spread: small where the law is wrong by more than seeds differ.
    """

    sizes_repeated: int
    dof: int
    sd: float
    lack_of_fit_p: float | None


def seed_noise(fit: LawFit) -> SeedNoise | None:
    """Estimate from the rows of `fit` that are of equal size; None where none repeat."""
    cells: dict[tuple[float, ...], list[float]] = {}
    for x, residual in zip(fit.points.x.T.round(9).tolist(), fit.residuals, strict=True):
        cells.setdefault(tuple(x), []).append(float(residual))
    repeated = [np.array(cell) for cell in cells.values() if len(cell) > 1]
    if not repeated:
        return None
    pure = float(sum(((cell - cell.mean()) ** 2).sum() for cell in repeated))
    dof = sum(cell.size - 1 for cell in repeated)
    left = len(cells) - int(fit.free.sum())
    p = None
    if left > 0 and pure > 0:
        missed = max(float(fit.residuals @ fit.residuals) - pure, 0.0)
        p = float(fdtrc(left, dof, (missed / left) / (pure / dof)))
    return SeedNoise(len(repeated), dof, float(np.sqrt(pure / dof)), p)
