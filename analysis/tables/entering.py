"""Which rows of a table enter a fit: one rule for every command, report and figure.

A row stays out where its run has not finished, where a label or a number that the fit needs is not
there, and where an earlier row of the same run entered. Each row that stays out has its reason.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.laws.law import Array

FINISHED = "finished"
# Why a run of this status takes no part in a fit.
EXCLUDED_STATUS = {
    "diverged": "diverged",
    "stopped": "stopped early: its sweep had better runs",
    "failed": "failed",
    "running": "still running",
    "interrupted": "interrupted: stopped half way",
    "queued": "queued: planned, no run",
}
Labels = NDArray[np.object_]


def why_not_finished(status: str) -> str:
    """Say why a run of this status takes no part in a fit; nothing where it has finished.

    Words are compared without case: MLflow writes FINISHED.
    """
    word = status.strip().lower()
    if word == FINISHED:
        return ""
    known = ", ".join([FINISHED, *EXCLUDED_STATUS])
    return EXCLUDED_STATUS.get(word, f"unknown status {status!r} (known: {known})")


def why_left_out(
    status: Iterable[str] | None, labels: Mapping[str, Labels], numbers: Mapping[str, Array]
) -> Labels:
    """Say of each row why it stays out, [n]; empty where nothing keeps it out.

    Args:
        status: how each run ended; None where the table does not say.
        labels: [n] each, by name, none of which may be empty.
        numbers: [n] each, by name, all of which must be finite and positive; at least one.
    """
    n = len(next(iter(numbers.values())))
    reasons = np.full(n, "", dtype=object)
    if status is not None:
        reasons[:] = [why_not_finished(word) for word in status]
    for name, values in labels.items():
        reasons[(reasons == "") & (values == "")] = f"{name} is empty"
    for name, values in numbers.items():
        for i in np.flatnonzero((reasons == "") & ~usable(values)):
            reasons[i] = f"{name} is {values[i]:g}, not a finite positive number"
    return reasons


def usable(values: Array) -> NDArray[np.bool_]:
    """Tell which numbers are finite and positive, [n]."""
    return np.isfinite(values) & (values > 0)


def leave_out_repeats(reasons: Labels, point_ids: Labels) -> None:
    """Give every row but the first that enters of a point the reason that it repeats it."""
    rows = np.flatnonzero(reasons == "")
    _, first = np.unique(point_ids[rows].astype(str), return_index=True)
    repeats = np.delete(rows, first)
    reasons[repeats] = "duplicate point_id: an earlier run of this point entered"
