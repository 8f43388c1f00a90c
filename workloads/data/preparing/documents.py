"""The documents of a unit: the text of each row, or why a row has none that can be used."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import pyarrow as arrow
import pyarrow.parquet as parquet

from workloads.data.manifest import DataError
from workloads.data.preparing.pieces import Settings, Unit
from workloads.data.preparing.streams import (
    BYTE_ORDER_MARK,
    stored_chunks,
    text_chunks,
    text_range,
)

ROWS_AT_ONCE = 256
FIELDS_NAMED = 8  # of a record, in errors


class Text(NamedTuple):
    """A document; `row` is its row in the file, counted from 1, or None where it is the file."""

    row: int | None
    text: str


@dataclass(frozen=True)
class BadRows:
    """Rows that cannot be used, mostly one: a line with file, row, problem and remedy."""

    problem: str
    count: int = 1


@dataclass(frozen=True)
class Condition:
    """A filter: the rows whose `field` has this value, shown as JSON shows it, or has not."""

    field: str
    value: str
    equal: bool

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read FIELD=VALUE or FIELD!=VALUE. Raises DataError where it is neither."""
        field, sign, value = text.partition("=")
        name = field.removesuffix("!")
        if not sign or not name:
            raise DataError(f"--where {text}: must be FIELD=VALUE or FIELD!=VALUE")
        return cls(name, value, name == field)

    def keeps(self, record: Mapping[str, Any]) -> bool:
        found = _field(record, (self.field,), "--where names it")
        shown = found if isinstance(found, str) else json.dumps(found, default=str)
        return (shown == self.value) == self.equal


class _Problem(Exception):
    """What is wrong with a row."""


# A row, counted from 1 in its file, and what reads its text: None where the filter leaves it out.
_Row = tuple[int | None, Callable[[], str | None]]


def documents(
    unit: Unit, settings: Settings, refusal: Callable[[str], str | None] = lambda text: None
) -> Iterator[Text | BadRows]:
    """Yield the rows that the filter keeps, and the rows that cannot be used.

    `refusal` says what is wrong with a text, if anything is.
    """
    row = unit.range.first_row
    try:
        for row, read in READERS[unit.input.kind](unit, settings):
            try:
                text = read()
                if text is not None and (problem := refusal(text)):
                    raise _Problem(problem)
            except _Problem as problem:
                yield BadRows(_line(unit, row, str(problem)))
            else:
                if text is not None:
                    yield Text(row, text)
    except (arrow.ArrowException, OSError, _Problem) as error:  # of a damaged Parquet file
        if isinstance(error, OSError) and error.errno is not None:  # of the system's
            raise
        left = unit.range.stop - (row or 0)
        yield BadRows(_line(unit, (row or 0) + 1, " ".join(str(error).split())), left)


def _line(unit: Unit, row: int | None, problem: str) -> str:
    place = unit.input.path if row is None else f"{unit.input.path}: row {row}"
    return f"{place}: {problem}; correct it, or leave it out with --skip-bad"


def _text(unit: Unit, settings: Settings) -> Iterator[_Row]:
    content = b"".join(text_chunks(unit.input, stored_chunks(unit.input)))[unit.range.start :]
    yield None, lambda: _decoded(content)


def _lines(unit: Unit, settings: Settings) -> Iterator[_Row]:
    part, select = unit.range, _selection(settings)
    content = text_range(unit.input, part.start, part.stop)
    if part.start == 0:
        content = content.removeprefix(BYTE_ORDER_MARK)
    for row, line in enumerate(content.split(b"\n"), part.first_row + 1):
        if line and not line.isspace():
            yield row, lambda line=line: select(_parsed(line))


def _rows(unit: Unit, settings: Settings) -> Iterator[_Row]:
    part = unit.range
    with unit.input.open() as file, parquet.ParquetFile(file) as table:
        select = _selection(settings, table.schema_arrow.names)
        columns = _columns(table.schema_arrow.names, settings)
        group, first = _group_of(table.metadata, part.start)
        for batch in table.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns):
            low, high = max(first, part.start), min(first + len(batch), part.stop)
            for row, record in enumerate(_records(batch, low - first, high - first), low + 1):
                yield row, partial(select, record)
            first += len(batch)
            if first >= part.stop:
                return


READERS: dict[str, Callable[[Unit, Settings], Iterator[_Row]]] = {
    "text": _text,
    "jsonl": _lines,
    "parquet": _rows,
}


def _group_of(metadata: Any, row: int) -> tuple[int, int]:
    """Return the group of rows that holds a row, and the group's first row."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if row < first + rows:
            return group, first
        first += rows
    raise _Problem("the file has fewer rows than when it was scanned")


def _columns(names: Sequence[str], settings: Settings) -> list[str]:
    """Return the columns that the text and the filters are in."""
    texts = settings.text_field.split("|")
    filters = [Condition.parse(condition).field for condition in settings.where]
    columns = {name if name in names else name.split(".")[0] for name in texts + filters}
    return [name for name in names if name in columns]


def _records(batch: arrow.RecordBatch, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Yield rows of a batch; text is left as bytes, since a row of it may not be UTF-8."""
    if start >= stop:
        return
    values = [_plain(column.slice(start, stop - start)) for column in batch.columns]
    for row in zip(*values, strict=True) if values else [()] * (stop - start):
        yield dict(zip(batch.schema.names, row, strict=True))


def _plain(column: Any) -> list[Any]:
    """Return the values of a column; a problem in place of one that Python cannot hold, such as
    text within a record that is not UTF-8, or a date after the year 9999."""
    if arrow.types.is_string(column.type):
        column = column.cast(arrow.binary())
    elif arrow.types.is_large_string(column.type):
        column = column.cast(arrow.large_binary())
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, LookupError, arrow.ArrowException):
        return [_value(each) for each in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, LookupError, arrow.ArrowException) as error:
        return _Problem(" ".join(str(error).split()))


def _selection(settings: Settings, known: Sequence[str] = ()) -> Callable[[Any], str | None]:
    """Return what takes the text of a record, or None where a filter leaves the record out. `known`
    are the fields that an error names, where a record has only those that are read."""
    names = settings.text_field.split("|")
    conditions = [Condition.parse(text) for text in settings.where]

    def select(record: Any) -> str | None:
        if not isinstance(record, dict):
            raise _Problem("not a record with fields")
        if not all(condition.keeps(record) for condition in conditions):
            return None
        text = _field(record, names, "--text-field names that of the text", known)
        if not isinstance(text, str):
            kind = type(text).__name__
            raise _Problem(f"the field {' or '.join(names)} is not text but {kind}")
        if not text.isascii():
            _encodable(text)
        return text

    return select


def _field(
    record: Mapping[str, Any], names: Sequence[str], remedy: str, fields: Sequence[str] = ()
) -> Any:
    """Return the first of the fields that the record has; a dotted name leads into records.

    Raises _Problem with the remedy, and with what `fields` or else the record has, where it has
    none, and where its value could not be read.
    """
    for name in names:
        found = record.get(name, record)
        if found is record:
            for part in name.split("."):
                found = found.get(part, record) if isinstance(found, dict) else record
                if found is record or isinstance(found, _Problem):
                    break
        if isinstance(found, _Problem):
            raise _Problem(f"the field {name} cannot be read ({found})")
        if found is not record:
            return _decoded(found) if isinstance(found, bytes) else found
    known = ", ".join(list(fields or record)[:FIELDS_NAMED]) or "none"
    raise _Problem(f"no field {' or '.join(names)} (it has: {known}; {remedy})")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Problem(f"byte {error.start} is not UTF-8") from None


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Problem(f"character {error.start} is half of a surrogate pair") from None


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(_decoded(line))
    except json.JSONDecodeError as error:
        raise _Problem(f"not JSON ({error})") from None
    except ValueError:  # an integer of more digits than Python turns into one
        return json.loads(_decoded(line), parse_int=_integer)
    except RecursionError as error:
        raise _Problem(f"not JSON ({error})") from None


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= sys.get_int_max_str_digits() else Decimal(digits)
