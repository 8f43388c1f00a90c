"""The numbers that arXiv 2406.16450 published, as tables."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.tables.runs import load_csv

FOLDER = Path(__file__).parents[1] / "published"
# The losses that the paper gives in a figure only; `source` marks them in a run table.
DIGITIZED = "figure digitized to 0.002"
READING_ERROR = 0.002  # nats per token, each side
NOTE = f"losses read off the paper's figure to ±{READING_ERROR:g} nats"


def scaling() -> pd.DataFrame:
    """Load the points of its scaling laws as a run table: losses read off a figure to 0.002."""
    return load_csv(FOLDER / "scaling.csv")


def read_off(runs: pd.DataFrame) -> list[str]:
    """Say how many losses of `runs` were read off a figure: one sentence, or none."""
    count = int(np.count_nonzero(runs["source"] == DIGITIZED))
    if not count:
        return []
    return [
        f"{count} of these {len(runs)} losses were read off a published figure, each to "
        f"±{READING_ERROR:g} nats: an error of reading that residuals and intervals hold beside "
        "that of training."
    ]


def wide() -> pd.DataFrame:
    """Load its wide and structured models at about 1.55e19 training FLOPs."""
    return pd.read_csv(FOLDER / "wide.csv")


def latency() -> pd.DataFrame:
    """Load how many times faster than dense its structured FFNs were on an A100."""
    return pd.read_csv(FOLDER / "latency.csv")
