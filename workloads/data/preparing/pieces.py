"""How inputs are cut into pieces of work, by their content alone.

An input is cut into units: ranges of whole lines of about `UNIT_BYTES` of text, of rows of Parquet,
or one whole file of plain text. A unit is known by a key: a hash of the input's content, the
range, and all that decides its tokens. A piece is one unit, or several small ones; the tokens of a
unit never depend on the piece that it is in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

import pyarrow.parquet as parquet
from pyarrow import ArrowException
from pydantic import TypeAdapter

from workloads.data.manifest import DataError
from workloads.data.preparing.sources import Input
from workloads.data.preparing.streams import BYTE_ORDER_MARK, stored_chunks, text_chunks
from workloads.data.unchanged import remembered

T = TypeVar("T")

UNIT_BYTES = 2**22
# So many small files are one piece of work that what is done once for each piece is little.
FILES_AT_ONCE = 1000
SCANNED_AT_ONCE = 2**26
# Reading what is remembered of a smaller file costs as much as reading the file.
REMEMBERED_BYTES = 2**20
# Raise it when the same file would have other units.
SCAN_VERSION = 2
# Raise it when the same unit would give other tokens or another part file.
PARTS_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """All that decides the tokens of a text, and whether gigatoken encodes it, which decides none.

    `tokenizer` is a name or a path.
    """

    tokenizer: str
    tokenizer_sha256: str
    text_field: str
    where: tuple[str, ...]
    gigatoken: bool = False


@dataclass(frozen=True)
class Range:
    """A range of an input: bytes of its decompressed text, or rows of a Parquet file.

    `first_row` lines or rows stand before it; `text_bytes` is about the size of its text.
    """

    start: int
    stop: int
    first_row: int
    text_bytes: int


@dataclass(frozen=True)
class Scan:
    """What an input holds, or the problem for which it cannot be read."""

    sha256: str
    ranges: tuple[Range, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Unit:
    """A range of one input, and the key that its tokens are kept under."""

    input: Input
    range: Range
    sha256: str
    key: str


@dataclass(frozen=True)
class Piece:
    """Units that are tokenized together, into one part file."""

    units: tuple[Unit, ...]

    @property
    def text_bytes(self) -> int:
        return sum(unit.range.text_bytes for unit in self.units)


def scan_groups(inputs: Iterable[Input]) -> list[list[Input]]:
    """Group inputs so that scanning a group is worth a task."""
    return list(_groups(inputs, lambda each: each.size, SCANNED_AT_ONCE))


def scan(inputs: Sequence[Input]) -> dict[str, Scan]:
    """Read inputs for their hashes and ranges, by path; one that has not changed is not read
    again."""
    return {each.path: _remembered_scan(each) for each in inputs}


def units_of(each: Input, scanned: Scan, settings: Settings) -> list[Unit]:
    """Return the units of a scanned input, in order."""
    return [
        Unit(each, part, scanned.sha256, _key(each, scanned.sha256, part, settings))
        for part in scanned.ranges
    ]


def pieces_of(units: Iterable[Unit]) -> list[Piece]:
    """Group units into pieces of about `UNIT_BYTES` of text."""
    groups = _groups(units, lambda unit: unit.range.text_bytes, UNIT_BYTES)
    return [Piece(tuple(group)) for group in groups]


def _groups(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Yield neighbours whose sizes sum to at most `most`, or one that is larger."""
    group: list[T] = []
    total = 0
    for item in items:
        if group and (total + size(item) > most or len(group) == FILES_AT_ONCE):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def _key(each: Input, sha256: str, part: Range, settings: Settings) -> str:
    fields = [] if each.kind == "text" else [settings.text_field, *settings.where]
    content = [PARTS_VERSION, each.kind, each.compression, sha256, part.start, part.stop]
    content += [settings.tokenizer_sha256, fields]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# Scans

_SCAN: TypeAdapter[Scan] = TypeAdapter(Scan)


def _remembered_scan(each: Input) -> Scan:
    purpose = {"scan": [each.kind, each.compression, UNIT_BYTES, PARTS_VERSION, SCAN_VERSION]}
    files = [each.local] if each.local else []
    if not files:
        purpose["remote"] = [each.source, each.path, each.state]
    identified = files or " " in each.state  # A size alone does not identify content.
    if each.size < REMEMBERED_BYTES or not identified:
        return _scan(each)
    found = remembered(purpose, files, partial(_scan_as_json, each))
    return _SCAN.validate_json(found)


def _scan_as_json(each: Input) -> str:
    return _SCAN.dump_json(_scan(each)).decode()


def _scan(each: Input) -> Scan:
    if each.problem:
        return Scan("", (), each.problem)
    digest = hashlib.sha256()

    def stored() -> Iterator[bytes]:
        for chunk in stored_chunks(each):
            digest.update(chunk)
            yield chunk

    try:
        ranges = RANGES[each.kind](each, stored())
    except DataError as error:
        return Scan("", (), str(error))
    return Scan(digest.hexdigest(), tuple(ranges))


def _text_ranges(each: Input, stored: Iterator[bytes]) -> list[Range]:
    """Return the whole text, without the mark of its encoding."""
    size, head = 0, b""
    for chunk in text_chunks(each, stored):
        size += len(chunk)
        if len(head) < len(BYTE_ORDER_MARK):
            head += chunk[: len(BYTE_ORDER_MARK)]
    start = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    return [Range(start, size, 0, size - start)] if size > start else []


def _line_ranges(each: Input, stored: Iterator[bytes]) -> list[Range]:
    """Cut at the first line start that leaves `UNIT_BYTES` or more on its left."""
    starts, lines = [(0, 0)], 0  # offsets, and the lines before them
    position = 0
    for chunk in text_chunks(each, stored):
        at = 0
        while True:
            least = starts[-1][0] + UNIT_BYTES - 1 - position
            newline = chunk.find(b"\n", max(at, least))
            if newline < 0:
                break
            lines += chunk.count(b"\n", at, newline + 1)
            at = newline + 1
            starts.append((position + at, lines))
        lines += chunk.count(b"\n", at)
        position += len(chunk)
    if starts[-1][0] < position:
        starts.append((position, lines))
    return [Range(start, stop, line, stop - start) for (start, line), (stop, _) in pairwise(starts)]


def _row_ranges(each: Input, stored: Iterator[bytes]) -> list[Range]:
    """Cut into equal numbers of rows, within each group of rows as the file has them."""
    for _ in stored:
        pass
    ranges, first = [], 0
    try:
        with each.open() as file, parquet.ParquetFile(file) as table:
            groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system's
            raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"{each.path}: not a Parquet file that can be read ({reason}); fetch it again, or "
            "leave it out with --skip-bad"
        ) from None
    for group in groups:
        rows, size = group.num_rows, group.total_byte_size
        count = min(max(1, round(size / UNIT_BYTES)), rows)  # none of an empty group
        cuts = [first + rows * i // max(1, count) for i in range(count + 1)]
        ranges += [Range(start, stop, start, size // count) for start, stop in pairwise(cuts)]
        first += rows
    return ranges


RANGES: dict[str, Callable[[Input, Iterator[bytes]], list[Range]]] = {
    "text": _text_ranges,
    "jsonl": _line_ranges,
    "parquet": _row_ranges,
}
