"""The envelope of training curves: the lowest loss that any run had reached for its FLOPs.

It gets many points out of few runs, and is biased. A run's loss before its end is that of a
schedule that has not yet decayed, above what a run planned for those FLOPs would reach; where the
sizes tried are few, none is the best for most FLOPs, which adds to it; and a minimum over noisy
losses lies below their mean. The first two bend the law, so its exponent is not that of finished
runs. What remains of all three is measured where it can be: at the runs' own ends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.fit import FitError, LawFit
from analysis.scaling.arm import FittedArm, Settings, fit_arm, fit_table
from analysis.tables.table import Table

PER_DECADE = 10  # most points in a decade of FLOPs, so that no run's steps crowd the envelope


@dataclass(frozen=True)
class Envelope:
    """The law of the envelope, and the law of the runs' ends where they carry one.

    `bias` is the mean over ends of log envelope loss minus log final loss: positive where the
    envelope promises a higher loss than a run of that length reaches.
    """

    arm: FittedArm
    n_runs: int  # runs with a point on the envelope
    n_ends: int
    bias: float
    ends: LawFit | None
    why_no_ends: str = ""


def envelope(table: Table, settings: Settings) -> Envelope:
    """Fit `settings.law` to the envelope of a table of curves.

    Args:
        table: a row for each validated step, `group` naming its run.
        settings: how; resamples draw runs, not steps.

    Raises:
        FitError: the envelope does not carry the law.
    """
    assert table.group is not None
    lowest = table.take(lowest_rows(table))
    arm = fit_arm(lowest, settings)
    ends = table.take(end_rows(table))
    missed = np.log(arm.fit.predict(ends.values)) - np.log(ends.loss)
    law, why = None, ""
    try:
        law = fit_table(ends, settings)
    except FitError as error:
        why = str(error)
    assert lowest.group is not None
    return Envelope(arm, len(set(lowest.group)), ends.n, float(missed.mean()), law, why)


def lowest_rows(table: Table) -> NDArray[np.intp]:
    """Find the rows of lowest loss in each bin of FLOPs that no fewer FLOPs had reached."""
    bins = np.floor(np.log10(table.values["flops"]) * PER_DECADE)
    order = np.lexsort((table.loss, bins))
    first = order[np.flatnonzero(np.diff(bins[order], prepend=-np.inf))]
    earlier = np.minimum.accumulate(np.concatenate([[np.inf], table.loss[first][:-1]]))
    return first[table.loss[first] < earlier]


def end_rows(table: Table) -> NDArray[np.intp]:
    """Find the row of most FLOPs of each run."""
    assert table.group is not None
    order = np.lexsort((table.values["flops"], table.group.astype(str)))
    names = table.group[order].astype(str)
    return order[np.append(names[1:] != names[:-1], True)]
