"""A study at a glance: a row an arm."""

from collections.abc import Callable

import pandas as pd

from analysis.report.findings import three_digits
from analysis.report.sections import NOTHING, Section
from analysis.tables.frames import numbers, sizes, where


def overview_section(
    name: str, source: str, runs: pd.DataFrame, used: pd.DataFrame, excluded: pd.DataFrame
) -> Section:
    """Tabulate the points of each arm by status, and the sizes, losses and FLOPs that entered.

    Args:
        name: of the study.
        source: where the runs come from.
        runs: the run table.
        used: the runs that enter fits.
        excluded: those that do not, with their `reason`.
    """
    states = list(dict.fromkeys(runs["status"]))
    columns = {"arm": False, **dict.fromkeys(states, True)}
    columns |= {"sizes": True, "val loss": True, "train FLOPs": True}
    rows = []
    for arm in dict.fromkeys(runs["arm"]):
        own, entered = where(runs, runs["arm"] == arm), where(used, used["arm"] == arm)
        row = {"arm": arm} | {state: str((own["status"] == state).sum()) for state in states}
        row["sizes"] = str(len({*sizes(own)}))
        if len(entered):
            row["val loss"] = _range(entered, "val_loss", "{:.4f}".format)
            row["train FLOPs"] = _range(entered, "train_flops", three_digits)
        rows.append(row)
    total = numbers(used, "train_flops").sum()
    counted = excluded["reason"].value_counts(sort=False)
    out = "; ".join(f"{count} {reason}" for reason, count in counted.items())
    note = (
        f"{len(used)} of {len(runs)} runs enter fits, with {three_digits(total)} training FLOPs "
        f"together{f'; left out: {out}' if out else ''}. From {source}."
    )
    return Section("study", f"Study {name}", note, columns, []).with_rows(rows)


def _range(runs: pd.DataFrame, name: str, show: Callable[[float], str]) -> str:
    values = numbers(runs, name)
    low, high = show(float(values.min())), show(float(values.max()))
    return low if low == high else f"{low} {NOTHING} {high}"
