"""Run tables and training curves of grown arms whose gain is known."""

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables.runs import run_table
from tests.analysis.conftest import run_row
from tests.analysis.known import TRUTH

BASE_SHARE = 0.2  # of a grown run's FLOPs that come before the growth


def loss_of(params: float, flops: float) -> float:
    """The loss of a model of this size trained from scratch, under the Chinchilla law `TRUTH`."""
    t, tokens = TRUTH, flops / (6 * params)
    return float(t["E"] + t["A"] * params ** -t["alpha"] + t["B"] * tokens ** -t["beta"])


def grown_table(
    gain: Callable[[float, float], float],
    *,
    sizes: Iterable[float] = (1e8,),
    tokens_per_param: Iterable[float] = (5, 10, 20, 40),
    factors: Iterable[int] = (2, 4, 8),
    seeds: int = 3,
    noise: float = 0.002,
    seed: int = 0,
) -> pd.DataFrame:
    """Runs from scratch and grown ones of equal FLOPs.

    A grown run ends with the loss of a run from scratch of `gain(factor, tokens_per_param)` times
    its FLOPs. Log losses have errors of standard deviation `noise`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for N, t, factor, s in product(sizes, tokens_per_param, (1, *factors), range(seeds)):
        C = 6 * N * N * t
        how: dict[str, Any] = {"growth": "", "growth_factor": None, "base_train_flops": None}
        times = 1.0
        if factor > 1:
            times = gain(factor, t)
            how = {
                "growth": f"stack x{factor} at 0.3",
                "growth_factor": factor,
                "base_train_flops": BASE_SHARE * C,
            }
        arm = "dense" if factor == 1 else f"dense grown stack x{factor}"
        loss = loss_of(N, C * times) * np.exp(rng.normal(0, noise))
        point = f"{N:g}-{t:g}-{factor}-{s}"
        changes = {
            "ffn_kind": "dense",
            "params": N,
            "tokens": N * t,
            "train_flops": C,
            "val_loss": loss,
            "seed": s,
        }
        rows.append(run_row(f"{N:g}", arm, point_id=point, run_id=point, **changes, **how))
    return run_table(pd.DataFrame(rows), "grown")


def grown_curves(
    runs: pd.DataFrame, gain: Callable[[float, float], float], steps: int = 60
) -> pd.DataFrame:
    """A training curve for each run of `grown_table`, from 1/100 of its FLOPs on.

    Every loss is that of a run of so many FLOPs, times the error of the run's end. Before it grew,
    a run is 10% above that.
    """
    parts = []
    for run in runs.to_dict("records"):
        N, end = run["params"], run["train_flops"]
        grew = run["growth"] != ""
        times = gain(run["growth_factor"], run["tokens"] / N) if grew else 1.0
        C = np.geomspace(end / 100, end, steps)
        losses = np.array([loss_of(N, c * times) for c in C])
        losses *= run["val_loss"] / losses[-1]
        if grew:
            losses[run["base_train_flops"] > C] *= 1.1
        columns = {"step": np.arange(1, steps + 1), "train_flops": C}
        names = {"point_id": run["point_id"], "arm": run["arm"]}
        parts.append(pd.DataFrame(names | columns | {"train_loss": losses, "val_loss": losses}))
    return pd.concat(parts, ignore_index=True)
