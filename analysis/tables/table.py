"""A table of runs from any file: checked columns of the rows to fit, and the rows left out.

A row enters a fit unless a rule keeps it out, and every row kept out is listed with the rule:
unfinished or failed, a label that is empty, a loss or size that is not a finite positive number,
another FLOP convention, an earlier row of the same point or equal to it, one of the K highest
losses where that is asked for, or an outlier from the first fit where that is asked for.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.laws.law import Array
from analysis.tables.cells import are_numbers, number_column, read_text
from analysis.tables.columns import (
    Columns,
    convention_column,
    find_column,
    own_column,
    read_labels,
    read_numbers,
    status_column,
)
from analysis.tables.entering import leave_out_repeats, usable, why_left_out
from analysis.tables.errors import RunTableError
from analysis.tables.files import TableFile, read_file
from analysis.tables.frames import size_names
from analysis.tables.units import unit_cautions

# Columns that only count the rows, as pandas writes them.
SHOWN_ARMS = 6  # names in a caution
COUNTERS = {"column 1", "Unnamed: 0", "index", "level_0"}


@dataclass(frozen=True)
class Excluded:
    """A row that stays out; `row` counts from 1 after the header."""

    row: int
    reason: str
    arm: str | None = None  # None where the table has no arms


@dataclass(frozen=True)
class Table:
    """The rows that may be fitted; `values` holds params, tokens and flops as far as known."""

    file: TableFile
    row: NDArray[np.int64]  # [n] place in the file, from 1
    loss: Array
    values: dict[str, Array]
    group: NDArray[np.object_] | None
    arm: NDArray[np.object_] | None
    excluded: tuple[Excluded, ...] = ()
    derived: tuple[str, ...] = ()  # formulas of columns that the file lacks
    convention: str | None = None
    # Rows with usable numbers that a rule left out; a second fit includes them.
    left_out: "Table | None" = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """Where the rows come from."""
        return self.file.source

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.loss.size

    @property
    def n_flops(self) -> int:
        """Number of distinct training FLOPs, to six digits of their logarithm."""
        return len(np.unique(np.log(self.values["flops"]).round(6)))

    @property
    def n_sizes(self) -> int:
        """Number of distinct sizes in parameters; where a run lacks them, of training FLOPs."""
        params = self.values.get("params")
        if params is None or not np.isfinite(params).all():
            return self.n_flops
        return len(np.unique(params))

    @property
    def cautions(self) -> list[str]:
        """What the numbers rest on and may be wrong: a sentence each."""
        found = unit_cautions(self.values)
        if arms := self.arms_in_one:
            shown = ", ".join(arms[:SHOWN_ARMS]) + (", ..." if len(arms) > SHOWN_ARMS else "")
            found.append(
                f"the runs of {len(arms)} arms ({shown}) are fitted as one: --by arm, or a table "
                "an arm, keeps them apart"
            )
        return found

    @property
    def arms_in_one(self) -> list[str]:
        """The names in column `arm`, where these rows are of several and are not kept apart."""
        if self.arm is not None or "arm" not in self.file.frame.columns:
            return []
        names = dict.fromkeys(map(read_text, self.file.frame["arm"].iloc[self.row - 1]))
        return [*names] if len(names) > 1 else []

    @property
    def excluded_counts(self) -> dict[str, int]:
        """How many rows each rule left out."""
        return dict(Counter(row.reason for row in self.excluded))

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "Table":
        """Take some of the rows."""
        return replace(
            self,
            row=self.row[chosen],
            loss=self.loss[chosen],
            values={name: v[chosen] for name, v in self.values.items()},
            group=None if self.group is None else self.group[chosen],
            arm=None if self.arm is None else self.arm[chosen],
        )

    def arms(self) -> dict[str, "Table"]:
        """Split the rows by arm, in order of appearance; one table named `all` without arms."""
        if self.arm is None:
            return {"all": self}
        return {str(name): self._one_arm(name) for name in dict.fromkeys(self.arm)}

    def _one_arm(self, name: object) -> "Table":
        """Take the rows of one arm, and of the rows left out its own."""
        left = self.left_out
        own = None if left is None or left.arm is None else left.take(left.arm == name)
        return replace(
            self.take(self.arm == name),
            excluded=tuple(row for row in self.excluded if row.arm == str(name)),
            left_out=own if own is not None and own.n else None,
        )

    def listed(self, i: np.intp, reason: str) -> Excluded:
        """Record row i of this table as one that stays out."""
        return Excluded(int(self.row[i]), reason, None if self.arm is None else str(self.arm[i]))

    def exclude(self, out: NDArray[np.bool_], reason: str) -> "Table":
        """Take the rows `out` off the table; they join `excluded` and `left_out`."""
        if not out.any():
            return self
        listed = tuple(self.listed(i, reason) for i in np.flatnonzero(out))
        gone = replace(self.take(out), left_out=None, excluded=())
        before = self.left_out
        return replace(
            self.take(~out),
            excluded=(*self.excluded, *listed),
            left_out=gone if before is None else _concat(before, gone),
        )

    def with_left_out(self) -> "Table | None":
        """Put back the usable rows that rules left out; None when there are none."""
        return None if self.left_out is None else _concat(self, self.left_out)


def read_table(
    path: Path, columns: Columns, needs: tuple[str, ...], keep: str | None = None
) -> Table:
    """Read the rows of `path` that may be fitted by a law in the variables `needs`.

    Tokens that are needed and not given are C / (6 N); FLOPs not given are 6 N D.

    Args:
        path: the file.
        columns: its columns.
        needs: variables of the law, of params, tokens, flops and unique_tokens.
        keep: the FLOP convention to keep, where the file has several.

    Raises:
        RunTableError: the file or a column cannot be used, or no row is left.
    """
    return table_of_file(read_file(path), columns, needs, keep)


def table_of(
    frame: pd.DataFrame,
    source: str,
    columns: Columns,
    needs: tuple[str, ...],
    keep: str | None = None,
) -> Table:
    """Make the table of a frame; see `read_table`."""
    return table_of_file(TableFile(source, frame.rename(columns=str)), columns, needs, keep)


def table_of_file(
    file: TableFile, columns: Columns, needs: tuple[str, ...], keep: str | None = None
) -> Table:
    """Make the table of a file that was read; see `read_table`."""
    frame, source = file.frame, file.source
    if frame.empty:
        raise RunTableError(f"{source}: no row below the header; give at least one run")
    numbers, derived = read_numbers(file, columns, needs)
    duplicated = _duplicated(frame, numbers)
    loss = numbers.pop("loss")
    group = read_labels(file, columns.group, "--group-col")
    arm = read_labels(file, columns.by, "--by")
    points = None if group is not None else _point_ids(file)
    labels = ((columns.by, arm), (columns.group, group), ("point_id", points))
    needed = {"loss": loss, **{name: numbers[name] for name in needs}}
    reasons = why_left_out(
        read_labels(file, status_column(file, columns.status), "--status-col"),
        {str(name): values for name, values in labels if values is not None},
        needed,
    )
    flops_matter = "flops" in needs or any("flops" in text or "/" in text for text in derived)
    other, convention = _one_convention(file, columns, keep, reasons, flops_matter)
    if points is not None:
        leave_out_repeats(reasons, points)
    reasons[(reasons == "") & duplicated] = "duplicate: every column equals an earlier row's"
    table = Table(
        file=file,
        row=np.arange(1, len(frame) + 1),
        loss=loss,
        values=numbers,
        group=group,
        arm=arm,
        derived=derived,
        convention=convention,
    )
    out = reasons != ""
    listed = tuple(table.listed(i, str(reasons[i])) for i in np.flatnonzero(out))
    spare = out & np.all([usable(v) for v in needed.values()], axis=0) & ~duplicated & ~other
    kept = replace(
        table.take(~out), excluded=listed, left_out=table.take(spare) if spare.any() else None
    )
    if not kept.n:
        first = listed[0].reason if listed else "none"
        raise RunTableError(
            f"{source}: none of {len(frame)} rows can be fitted (row {listed[0].row}: {first}); "
            "check the columns given"
        )
    return kept


def _duplicated(frame: pd.DataFrame, numbers: dict[str, Array]) -> NDArray[np.bool_]:
    """Tell which rows equal an earlier one in every column, numbers by value and the rest as text.

    A column that pandas added to count the rows tells none apart.
    """
    found = pd.DataFrame(numbers).duplicated(keep=False).to_numpy(copy=True)
    if not found.any():
        return found
    alike = frame.loc[found, [name for name in frame if not _counts_rows(frame, name)]]
    comparable = {
        name: number_column(alike, "", name) if are_numbers(cells) else [*map(read_text, cells)]
        for name, cells in alike.items()
    }
    found[found] = pd.DataFrame(comparable).duplicated().to_numpy()
    return found


def _counts_rows(frame: pd.DataFrame, name: str) -> bool:
    if name not in COUNTERS or not are_numbers(frame[name]):
        return False
    steps = number_column(frame, "", name) - np.arange(len(frame))
    return bool((steps == steps[0]).all())


def with_column(table: Table, variable: str, column: str) -> Table:
    """Read `variable` from another column of the same rows' file."""
    find_column(table.file, column, variable, required=True)
    values = number_column(table.file.frame, table.source, column)[table.row - 1]
    return replace(table, values={**table.values, variable: values})


def labels_of(table: Table, column: str, option: str) -> NDArray[np.object_]:
    """Read a column of the table's file as text, for the rows of `table`.

    A preset comes with its width multiplier, if the file has a column of it: both make the size.
    """
    labels = read_labels(table.file, column, option)
    assert labels is not None
    if empty := [int(row) for row in table.row if not labels[row - 1]]:
        raise RunTableError(
            f"{table.source}: column {column!r}, row {empty[0]}: it is empty; fill it in, or leave "
            f"out {option}"
        )
    if column == "preset" and "width" in table.file.frame.columns:
        widths = number_column(table.file.frame, table.source, "width")
        labels = np.array(size_names(labels, widths), dtype=object)
    return labels[table.row - 1]


def drop_highest(table: Table, count: int) -> Table:
    """Leave out the `count` highest losses."""
    if count <= 0:
        return table
    if count >= table.n:
        raise RunTableError(
            f"{table.source}: --drop-highest {count} leaves none of {table.n} runs; lower it"
        )
    out = np.zeros(table.n, bool)
    out[np.argsort(table.loss, kind="stable")[-count:]] = True
    return table.exclude(out, f"among the {count} highest losses (--drop-highest)")


def _point_ids(file: TableFile) -> NDArray[np.object_] | None:
    """Read the platform's ids of points: rows of one id are runs of one point."""
    remedy = "rename it, or keep one of that name"
    return read_labels(file, own_column(file, "point_id", remedy), "point_id")


def _one_convention(
    file: TableFile,
    columns: Columns,
    keep: str | None,
    reasons: NDArray[np.object_],
    flops_matter: bool,
) -> tuple[NDArray[np.bool_], str | None]:
    """Give rows of another FLOP convention, or of none, their reason.

    Returns:
        [n] which rows have FLOPs that share no axis with the kept ones, and the one convention.
    """
    name = convention_column(file, columns.convention, keep)
    labels = read_labels(file, name, "--convention-col")
    if labels is None:
        return np.zeros(reasons.size, bool), None
    if flops_matter:
        reasons[(reasons == "") & (labels == "")] = f"{name} is empty"
    if keep is not None:
        for i in np.flatnonzero((reasons == "") & (labels != keep)):
            reasons[i] = f"FLOPs counted as {labels[i]!r}, not {keep!r}"
    used = sorted(set(labels[reasons == ""]))
    if len(used) > 1 and flops_matter:
        raise RunTableError(
            f"{file.source}: column {name!r} mixes {', '.join(used)}: FLOPs of different "
            "conventions share no axis; keep one with --convention"
        )
    return flops_matter & ~np.isin(labels, used), used[0] if len(used) == 1 else None


def _concat(a: Table, b: Table) -> Table:
    def joined(x: NDArray | None, y: NDArray | None) -> NDArray | None:
        return None if x is None or y is None else np.concatenate([x, y])

    return replace(
        a,
        row=np.concatenate([a.row, b.row]),
        loss=np.concatenate([a.loss, b.loss]),
        values={n: np.concatenate([a.values[n], b.values[n]]) for n in a.values},
        group=joined(a.group, b.group),
        arm=joined(a.arm, b.arm),
        left_out=None,
    )
