"""Which column of a file holds what: those that the user names, else the platform's own.

A name that differs from the platform's by case, spaces or marks alone is neither taken nor passed
over: the user names the column.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.laws.law import Array
from analysis.tables.cells import number_column, read_text
from analysis.tables.errors import RunTableError, nearest
from analysis.tables.files import TableFile

# Where no column is named, these are looked for.
DEFAULTS = {"params": "params", "tokens": "tokens", "flops": "train_flops", "loss": "val_loss"}
STATUS = {"status", "state", "runstatus", "runstate"}  # names of a status, by their letters
SHOWN = 12  # columns named in an error


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


def read_numbers(
    file: TableFile, columns: Columns, needs: tuple[str, ...]
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Read the loss and every variable that is there, and derive what is needed and is not.

    Returns:
        [n] numbers by name, and the formulas of those that were derived.

    Raises:
        RunTableError: a column that is needed is absent or ambiguous, or holds no numbers.
    """
    given = {"loss": find_column(file, columns.loss, "loss", required=True)}
    derived: list[str] = []
    for name in ("params", "tokens", "flops", "unique_tokens"):
        asked = getattr(columns, name)
        # A file whose FLOPs are named and tokens are not is foreign: a column `tokens` may mean
        # anything there.
        if name == "tokens" and asked is None and columns.flops is not None:
            given[name] = None
            continue
        given[name] = find_column(file, asked, name, required=False, matters=name in needs)
    values = {
        n: number_column(file.frame, file.source, c) for n, c in given.items() if c is not None
    }
    if "tokens" in needs and "tokens" not in values and {"params", "flops"} <= set(values):
        with np.errstate(all="ignore"):
            values["tokens"] = values["flops"] / (6 * values["params"])
        derived.append(f"tokens = {given['flops']} / (6 {given['params']})")
    if "flops" in needs and "flops" not in values and {"params", "tokens"} <= set(values):
        values["flops"] = 6 * values["params"] * values["tokens"]
        derived.append(f"flops = 6 {given['params']} {given['tokens']}")
    for name in needs:
        if name not in values:
            known = ", ".join(file.frame.columns[:SHOWN])
            raise RunTableError(
                f"{file.source}: the law needs {name}, and no column for it was found among "
                f"{known}; name one with {_option(name)}"
            )
    return values, tuple(derived)


def find_column(
    file: TableFile, asked: str | None, name: str, required: bool, matters: bool = True
) -> str | None:
    """Find the column of `name`: the one asked for, else the platform's own.

    Raises:
        RunTableError: it was asked for or is required and absent, or it `matters` and another
            column has nearly the same name.
    """
    frame, own = file.frame, DEFAULTS.get(name)
    if asked is None and own is not None:
        if matters and own_column(file, own, f"name the column of {name} with {_option(name)}"):
            return own
        if own in frame.columns:
            return own
    if asked is None and not required:
        return None
    column = asked or own
    if column in frame.columns:
        return column
    known = ", ".join(frame.columns[:SHOWN])
    raise RunTableError(
        f"{file.source}: no column {column!r}{nearest(str(column), frame.columns)} among {known}; "
        f"name the column of {name} with {_option(name)}"
    )


def read_labels(file: TableFile, column: str | None, option: str) -> NDArray[np.object_] | None:
    """Read a column as text, [n]; None where none was named by `option`."""
    if column is None:
        return None
    _refuse_absent(file, column, option)
    return np.array([read_text(value) for value in file.frame[column]], dtype=object)


def own_column(file: TableFile, own: str, remedy: str) -> str | None:
    """Find the platform's own column of that name; None where there is none.

    Raises:
        RunTableError: another column has nearly the same name.
    """
    alike = [c for c in file.frame.columns if _letters(c) == _letters(own)]
    if alike and alike != [own]:
        raise RunTableError(
            f"{file.source}: {' or '.join(map(repr, alike))} may be the column {own!r}; {remedy}"
        )
    return own if alike else None


def status_column(
    file: TableFile, asked: str | None = None, remedy: str = "name one with --status-col"
) -> str | None:
    """Find the column of each run's status, whichever of its names it has; None without one.

    Raises:
        RunTableError: several columns may be it, or it was asked for and is absent.
    """
    if asked is not None:
        _refuse_absent(file, asked, "--status-col")
        return asked
    found = [c for c in file.frame.columns if _letters(c) in STATUS]
    if len(found) > 1:
        raise RunTableError(
            f"{file.source}: {' or '.join(map(repr, found))} may be each run's status; {remedy}"
        )
    return found[0] if found else None


def convention_column(file: TableFile, asked: str | None, keep: str | None) -> str | None:
    """Find the column of the FLOP convention; None where there is none and none was asked for."""
    own = "flop_convention"
    if asked is None and own_column(file, own, "name one with --convention-col"):
        return own
    if asked is not None or keep is not None:
        _refuse_absent(file, asked or own, "--convention-col")
    return asked


def _refuse_absent(file: TableFile, column: str, option: str) -> None:
    if column not in file.frame.columns:
        raise RunTableError(
            f"{file.source}: no column {column!r}{nearest(column, file.frame.columns)}; "
            f"correct {option}"
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}-col"


def _letters(name: str) -> str:
    """Reduce a name to its letters and digits, without case."""
    return "".join(c for c in name.casefold() if c.isalnum())
