"""An arm in a comparison: its fit, its resamples, and the cells that pair its runs with others.

A cell is what two runs of different arms have in common, such as their size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.fit import LawFit
from analysis.scaling.arm import FittedArm
from analysis.tables.table import Table
from analysis.uncertainty.bootstrap import Draws, Resampling

Labels = NDArray[np.object_]


@dataclass(frozen=True)
class Contender:
    """A fitted arm, drawn so that its resamples match those of the arms it is compared with."""

    name: str
    arm: FittedArm
    draws: Draws
    cells: Labels | None  # [n] of each row; None where runs are not paired

    @property
    def table(self) -> Table:
        """The rows that were fitted."""
        return self.arm.table

    @property
    def fit(self) -> LawFit:
        """The arm's own fit of L(C)."""
        return self.arm.fit

    @property
    def resampling(self) -> Resampling:
        """How its intervals are drawn."""
        found = self.arm.settings.resampling
        assert found is not None
        return found


def pair_cells(reference: Contender, arm: Contender) -> tuple[Labels, Labels] | None:
    """Give the cells of both, or None where the two do not have the same cells."""
    first, second = reference.cells, arm.cells
    if first is None or second is None or set(first) != set(second):
        return None
    return first, second


def drawn_together(table: Table, cells: Labels | None) -> Labels:
    """Label the rows that resampling draws together: cells, training runs, or else single rows."""
    if cells is not None:
        return cells
    if table.group is not None:
        return table.group
    return np.arange(table.n).astype(object)
