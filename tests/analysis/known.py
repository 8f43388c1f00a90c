"""Runs of known laws, for the tests of fits."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def surface(sizes: int = 6, lengths: int = 6) -> tuple[dict[str, Array], Array]:
    """A grid of (N, D) with its losses under the Chinchilla law `TRUTH`, without noise."""
    N, D = np.meshgrid(np.geomspace(5e7, 1e10, sizes), np.geomspace(1e9, 1e12, lengths))
    N, D = N.ravel(), D.ravel()
    t = TRUTH
    loss = t["E"] + t["A"] * N ** -t["alpha"] + t["B"] * D ** -t["beta"]
    return {"params": N, "tokens": D, "flops": 6 * N * D}, loss


def noisy(loss: Array, seed: int, sd: float = 0.01) -> Array:
    """Losses with Gaussian errors of relative size `sd`."""
    return loss * np.exp(np.random.default_rng(seed).normal(0, sd, loss.size))
