"""What about the runs that entered makes the numbers doubtful."""

import pandas as pd

from analysis.tables.frames import numbers
from analysis.tables.passes import MOST_PASSES
from analysis.tables.published import read_off
from analysis.tables.units import unit_cautions


def cautions(used: pd.DataFrame) -> list[str]:
    """Say what about the runs that entered makes the numbers doubtful, a sentence each."""
    columns = {"params": "params", "tokens": "tokens", "flops": "train_flops"}
    values = {name: numbers(used, column) for name, column in columns.items()}
    units = (f"{text}." for text in unit_cautions(values))
    return [*read_off(used), *units, *_repeats(used)]


def _repeats(used: pd.DataFrame) -> list[str]:
    """Say how many runs read their text more often than repeating is nearly as good: one sentence,
    or none."""
    passes = [float(number) for number in used["passes"] if number > MOST_PASSES]
    if not passes:
        return []
    return [
        f"{len(passes)} of these {len(used)} run{'' if len(used) == 1 else 's'} make more than "
        f"{MOST_PASSES} passes over their training text, {max(passes):.0f} at most: from there on, "
        "repeated text is worth less than fresh text (Muennighoff et al., arXiv 2305.16264), and "
        "so many fresh tokens would give lower losses."
    ]
