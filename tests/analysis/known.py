"""Runs and training curves of known laws."""

import numpy as np
import pandas as pd
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


def falling(point_id: str, arm: str, floor: float, steps: int = 20) -> pd.DataFrame:
    """Losses falling from ln(257) to a floor; validated at every fifth step."""
    step = np.arange(1, steps + 1)
    loss = floor + (np.log(257) - floor) * np.exp(-step / 4)
    validated = np.where(step % 5 == 0, loss + 0.1, np.nan)
    return pd.DataFrame(
        {
            "point_id": point_id,
            "arm": arm,
            "step": step,
            "train_flops": step * 1e9,
            "train_loss": loss,
            "val_loss": validated,
        }
    )


def every_variable(n: int = 40) -> dict[str, Array]:
    """Random values of every variable that a law may read."""
    rng = np.random.default_rng(1)
    N, D = np.exp(rng.uniform(17, 23, n)), np.exp(rng.uniform(20, 27, n))
    U = D / np.exp(rng.uniform(0, 3, n))
    arm = (np.arange(n) % 2).astype(float)
    return {"params": N, "tokens": D, "flops": 6 * N * D, "unique_tokens": U, "arm": arm}
