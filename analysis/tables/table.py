"""A table of runs from any file: checked columns of the rows to fit, and the rows left out.

A row enters a fit unless a rule keeps it out, and every row kept out is listed with the rule:
unfinished or failed, a loss or size that is not a finite positive number, an exact duplicate of an
earlier row, another FLOP convention, one of the K highest losses where that is asked for, or an
outlier from the first fit where that is asked for.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.tables.errors import RunTableError, nearest
from analysis.tables.files import read_frame
from analysis.tables.runs import EXCLUDED_STATUS, size_names

Array = NDArray[np.float64]

# Where no column is named, these are looked for.
DEFAULTS = {"params": "params", "tokens": "tokens", "flops": "train_flops", "loss": "val_loss"}
FINISHED = "finished"
SHOWN = 12  # columns named in an error
EMPTY = {"", "none", "null", "na", "n/a"}


@dataclass(frozen=True)
class Columns:
    """The columns of a file by what they hold; None takes the platform's own name if there."""

    params: str | None = None
    tokens: str | None = None
    flops: str | None = None
    loss: str | None = None
    unique_tokens: str | None = None
    group: str | None = None  # the training run a row is a checkpoint of
    by: str | None = None  # the arm
    status: str | None = None
    convention: str | None = None


@dataclass(frozen=True)
class Excluded:
    """A row that stays out; `row` counts from 1 after the header."""

    row: int
    reason: str
    arm: str | None = None  # None where the table has no arms


@dataclass(frozen=True)
class Table:
    """The rows that may be fitted; `values` holds params, tokens and flops as far as known."""

    source: str
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
    def n(self) -> int:
        """Number of rows."""
        return self.loss.size

    @property
    def n_sizes(self) -> int:
        """Number of distinct training FLOPs, to six digits of their logarithm."""
        return len(np.unique(np.log(self.values["flops"]).round(6)))

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
    return table_of(read_frame(path), str(path), columns, needs, keep)


def table_of(
    frame: pd.DataFrame,
    source: str,
    columns: Columns,
    needs: tuple[str, ...],
    keep: str | None = None,
) -> Table:
    """Make the table of a frame; see `read_table`."""
    if frame.empty:
        raise RunTableError(f"{source}: no row below the header; give at least one run")
    frame = frame.rename(columns=str)
    numbers, derived = _numbers(frame, source, columns, needs)
    loss = numbers.pop("loss")
    table = Table(
        source=source,
        row=np.arange(1, len(frame) + 1),
        loss=loss,
        values=numbers,
        group=_labels(frame, source, columns.group, "--group-col"),
        arm=_labels(frame, source, columns.by, "--by"),
        derived=derived,
    )
    reasons = _status_reasons(frame, source, columns.status)
    # Lists and objects do not hash: compare them as text.
    nested = [
        name for name, kind in frame.dtypes.items() if kind.kind == "O" and _is_nested(frame[name])
    ]
    duplicated = frame.astype(dict.fromkeys(nested, "str")).duplicated().to_numpy()
    reasons[(reasons == "") & duplicated] = "duplicate: every column equals an earlier row's"
    usable = np.ones(table.n, bool)
    for name, values in {"loss": loss, **{n: numbers[n] for n in needs}}.items():
        bad = ~(np.isfinite(values) & (values > 0))
        usable &= ~bad
        for i in np.flatnonzero(bad & (reasons == "")):
            reasons[i] = f"{name} is {values[i]:g}, not a finite positive number"
    table, reasons = _one_convention(frame, source, columns, needs, keep, table, reasons)
    out = reasons != ""
    listed = tuple(table.listed(i, str(reasons[i])) for i in np.flatnonzero(out))
    spare = out & usable & ~duplicated
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


def _is_nested(values: Iterable[object]) -> bool:
    return any(isinstance(value, list | dict) for value in values)


def with_column(table: Table, variable: str, column: str) -> Table:
    """Read `variable` from another column of the same rows' file."""
    frame = read_frame(Path(table.source)).rename(columns=str)
    _find(frame, table.source, column, variable, required=True)
    values = number_column(frame, table.source, column)[table.row - 1]
    return replace(table, values={**table.values, variable: values})


def labels_of(table: Table, column: str, option: str) -> NDArray[np.object_]:
    """Read a column of the table's file as text, for the rows of `table`.

    A preset comes with its width multiplier, if the file has a column of it: both make the size.
    """
    frame = read_frame(Path(table.source)).rename(columns=str)
    labels = _labels(frame, table.source, column, option)
    assert labels is not None
    if column == "preset" and "width" in frame.columns:
        widths = number_column(frame, table.source, "width")
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


def _numbers(
    frame: pd.DataFrame, source: str, columns: Columns, needs: tuple[str, ...]
) -> tuple[dict[str, Array], tuple[str, ...]]:
    given = {"loss": _find(frame, source, columns.loss, "loss", required=True)}
    derived: list[str] = []
    for name in ("params", "tokens", "flops", "unique_tokens"):
        asked = getattr(columns, name)
        # A file whose FLOPs are named and tokens are not is foreign: a column `tokens` may mean
        # anything there.
        if name == "tokens" and asked is None and columns.flops is not None:
            given[name] = None
            continue
        given[name] = _find(frame, source, asked, name, required=False)
    values = {n: number_column(frame, source, c) for n, c in given.items() if c is not None}
    if "tokens" in needs and "tokens" not in values and {"params", "flops"} <= set(values):
        with np.errstate(all="ignore"):
            values["tokens"] = values["flops"] / (6 * values["params"])
        derived.append(f"tokens = {given['flops']} / (6 {given['params']})")
    if "flops" in needs and "flops" not in values and {"params", "tokens"} <= set(values):
        values["flops"] = 6 * values["params"] * values["tokens"]
        derived.append(f"flops = 6 {given['params']} {given['tokens']}")
    for name in needs:
        if name not in values:
            option = "--" + name.replace("_", "-") + "-col"
            raise RunTableError(
                f"{source}: the law needs {name}, and no column for it was found among "
                f"{', '.join(frame.columns[:SHOWN])}; name one with {option}"
            )
    return values, tuple(derived)


def _find(
    frame: pd.DataFrame, source: str, asked: str | None, name: str, required: bool
) -> str | None:
    column = asked or DEFAULTS.get(name)
    if column in frame.columns:
        return column
    if asked is None and not required:
        return None
    option = "--" + name.replace("_", "-") + "-col"
    known = ", ".join(frame.columns[:SHOWN])
    raise RunTableError(
        f"{source}: no column {column!r}{nearest(str(column), frame.columns)} among {known}; name "
        f"the column of {name} with {option}"
    )


def number_column(frame: pd.DataFrame, source: str, column: str) -> Array:
    """Read a column as float64; parameters times tokens would overflow 64-bit integers."""
    values = pd.Series(frame[column])
    if pd.api.types.is_numeric_dtype(values):
        return values.astype("float64").to_numpy()
    numbers = np.empty(len(values))
    for i, value in enumerate(values):
        text = "" if pd.isna(value) else str(value).strip()
        try:
            numbers[i] = float(text) if text.lower() not in EMPTY else math.nan
        except ValueError:
            raise RunTableError(
                f"{source}: column {column!r}, row {i + 1}: {value!r} is not a number; write it "
                "as a plain number such as 1.5e9, or leave it empty"
            ) from None
    return numbers


def _labels(
    frame: pd.DataFrame, source: str, column: str | None, option: str
) -> NDArray[np.object_] | None:
    if column is None:
        return None
    if column not in frame.columns:
        raise RunTableError(
            f"{source}: no column {column!r}{nearest(column, frame.columns)}; correct {option}"
        )
    return frame[column].astype("object").where(frame[column].notna(), "").map(str).to_numpy(object)


def _status_reasons(frame: pd.DataFrame, source: str, column: str | None) -> NDArray[np.object_]:
    reasons = np.full(len(frame), "", dtype=object)
    if column is not None and column not in frame.columns:
        raise RunTableError(
            f"{source}: no column {column!r}{nearest(column, frame.columns)}; correct --status-col"
        )
    name = column or "status"
    if name not in frame.columns:
        return reasons
    for word in frame[name].unique():
        status = "" if pd.isna(word) else str(word).strip().lower()
        if status == FINISHED:
            continue
        why = EXCLUDED_STATUS.get(status, f"status is {word!r}, not {FINISHED!r}")
        reasons[(frame[name].isna() if pd.isna(word) else frame[name] == word).to_numpy()] = why
    return reasons


def _one_convention(
    frame: pd.DataFrame,
    source: str,
    columns: Columns,
    needs: tuple[str, ...],
    keep: str | None,
    table: Table,
    reasons: NDArray[np.object_],
) -> tuple[Table, NDArray[np.object_]]:
    name = columns.convention or "flop_convention"
    if name not in frame.columns:
        if columns.convention or keep:
            raise RunTableError(f"{source}: no column {name!r}; correct --convention-col")
        return table, reasons
    labels = frame[name].fillna("").astype(str).to_numpy(object)
    if keep is not None:
        wrong = labels != keep
        for i in np.flatnonzero(wrong & (reasons == "")):
            reasons[i] = f"FLOPs counted as {labels[i]!r}, not {keep!r}"
    used = sorted(set(labels[reasons == ""]))
    flops_matter = "flops" in needs or any("flops" in text or "/" in text for text in table.derived)
    if len(used) > 1 and flops_matter:
        raise RunTableError(
            f"{source}: column {name!r} mixes {', '.join(used)}: FLOPs of different conventions "
            "share no axis; keep one with --convention"
        )
    return replace(table, convention=used[0] if len(used) == 1 else None), reasons


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
