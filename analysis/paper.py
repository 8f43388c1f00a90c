"""What arXiv 2406.16450 published, as tables: facts to overlay and to redraw."""

from pathlib import Path

import pandas as pd

from analysis.runs import load_csv

FOLDER = Path(__file__).parent / "published"


def scaling() -> pd.DataFrame:
    """The points of its scaling laws as a run table: losses read off a figure to 0.002."""
    return load_csv(FOLDER / "scaling.csv")


def wide() -> pd.DataFrame:
    """Its wide and structured models at about 1.55e19 training FLOPs."""
    return pd.read_csv(FOLDER / "wide.csv")


def latency() -> pd.DataFrame:
    """How many times faster than dense its structured FFNs were on an A100."""
    return pd.read_csv(FOLDER / "latency.csv")
