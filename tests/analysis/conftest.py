"""Run tables of known truth."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from analysis.tables.runs import run_table

ARMS = {"dense": ("dense", None), "lowrank 31.25%": ("lowrank", 0.3125)}


def run_row(size: str = "s", arm: str = "dense", **changes: Any) -> dict[str, Any]:
    """One finished run; `changes` replace its values."""
    kind, fraction = ARMS.get(arm, ("lowrank", None))
    row = {
        "run_id": f"run-{size}-{arm}",
        "study": "known",
        "point_id": f"{size}-{arm}",
        "fingerprint": "f00d",
        "status": "finished",
        "preset": size,
        "arm": arm,
        "ffn_kind": kind,
        "ffn_rank": 16 if fraction else None,
        "ffn_nblocks": None,
        "ffn_fraction": fraction,
        "guide_ratio": None,
        "guide_mode": None,
        "params": 120_000,
        "ffn_params": 72_000,
        "tokens": 1_000_000,
        "steps": 100,
        "train_flops": 1e12,
        "flop_convention": "paper",
        "learning_rate": 1e-3,
        "seed": 0,
        "val_loss": 2.5,
        "bits_per_byte": 1.2,
        "train_seconds": 3.5,
        "tokens_per_second": 41_000.0,
        "commit": "c0ffee",
        "hardware": "cpu",
    }
    return row | changes


@pytest.fixture(scope="session")
def row() -> Callable[..., dict[str, Any]]:
    """The function `run_row`."""
    return run_row


@pytest.fixture(scope="session")
def ladder() -> Callable[..., pd.DataFrame]:
    """A function giving three sizes of two arms, of exponents `b`, about their laws by `noise`."""

    def make(
        b: tuple[float, float] = (0.05, 0.06), noise: tuple[float, ...] = (0.01, -0.02, 0.01)
    ) -> pd.DataFrame:
        rows = [
            run_row(
                size,
                arm,
                train_flops=C,
                params=round(C**0.4),
                val_loss=12.0 * C**-exponent * (1 + error),
            )
            for arm, exponent in zip(ARMS, b, strict=True)
            for size, C, error in zip("sml", (1e11, 1e12, 1e13), noise, strict=True)
        ]
        return run_table(pd.DataFrame(rows), "ladder")

    return make
