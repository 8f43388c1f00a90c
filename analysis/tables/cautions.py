"""What about the runs that entered makes the numbers doubtful."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.tables.frames import numbers, sizes, where
from analysis.tables.passes import MOST_PASSES
from analysis.tables.published import read_off
from analysis.tables.units import unit_cautions

SAME_FRACTION = 0.05  # difference up to which two fractions of a dense FFN's weights are the same


def cautions(used: pd.DataFrame) -> list[str]:
    """Say what about the runs that entered makes the numbers doubtful, a sentence each."""
    columns = {"params": "params", "tokens": "tokens", "flops": "train_flops"}
    values = {name: numbers(used, column) for name, column in columns.items()}
    units = (f"{text}." for text in unit_cautions(values))
    return [*read_off(used), *units, *_repeats(used), *_fractions(used)]


def across_studies(tables: Sequence[object], loss: str) -> list[str]:
    """Say what nats a token do not compare, where they are of several tables: one sentence, or
    none."""
    if len(tables) < 2 or not loss.startswith("val_loss"):
        return []
    return [
        "losses in nats per token compare studies of one tokenizer only; --loss-col bits_per_byte "
        "compares those of different ones."
    ]


def _fractions(used: pd.DataFrame) -> list[str]:
    """Say in which arms the FFNs have another part of the dense ones' weights by size: a sentence
    an arm.

    A rank is a whole number, and layers may stay dense, so runs of one arm can differ in more than
    size. The dense FFN's weights are those of the dense runs of the same size, if all agree.
    """
    named = used.assign(size=sizes(used))
    dense = where(named, (named["ffn_kind"] == "dense") & (named["growth"] == ""))
    weights = {size: set(numbers(rows, "ffn_params")) for size, rows in dense.groupby("size")}
    of_dense = {size: min(own) for size, own in weights.items() if len(own) == 1}
    found = []
    for arm, rows in where(named, named["ffn_kind"] != "dense").groupby("arm", sort=False):
        own = numbers(rows, "ffn_fraction")
        twins = np.array([of_dense.get(size, np.nan) for size in rows["size"]])
        together = numbers(rows, "ffn_params") / twins
        told = [
            f"{what} {fractions.min():.1%} to {fractions.max():.1%}"
            for what, fractions in (
                ("its structured FFN layers have", own),
                ("all its FFN layers together, dense ones included,", together),
            )
            if np.ptp(fractions) > SAME_FRACTION
        ]
        if told:
            found.append(f"{arm}: {' and '.join(told)} of the dense FFN's weights, by size.")
    return found


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
