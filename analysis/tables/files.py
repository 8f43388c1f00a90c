"""The one reader of tables: CSV, JSON lines and Parquet, read once and strictly.

What a file is, its content says, and its suffix where the content could be several things. Cells of
a CSV stay the text that they are; who asks for a number or a label reads it (`cells`). A file that
can be read in more than one way is refused with the line and the remedy, so that nothing shifted,
doubled or guessed is ever fitted.
"""

import csv
import hashlib
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.tables.errors import RunTableError, first_line

STDIN = "-"
CSV, JSON_LINES, PARQUET = "CSV", "JSON lines", "Parquet"
SUFFIXES = {
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": JSON_LINES,
    ".parquet": PARQUET,
}
# How files begin that hold a table, if any, in a form that is not read here.
OTHERS = {
    b"\x1f\x8b": "compressed by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"BZh": "compressed by bzip2",
    b"PK\x03\x04": "a zip archive or an Excel workbook (.xlsx)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls)",
    b"ARROW1": "an Arrow or Feather file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy array",
    b"SQLite format 3": "an SQLite database",
    b"\x80\x04\x95": "a Python pickle",
    b"%PDF": "a PDF document",
    b"<": "HTML or XML",
    b"version https://git-lfs": "a pointer of Git LFS, not the file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", " ": "spaces"}
REMEDY = (
    "give a comma-separated UTF-8 file with one header line and as many fields in every line, JSON "
    "lines, or Parquet"
)
ROWS = 100_000  # rows of a CSV that are lists of text at a time
SHOWN = 40  # characters of a line in an error


@dataclass(frozen=True)
class TableFile:
    """What a file held when it was read: `frame` has a row a record, its columns named apart.

    `sha256` is of the bytes that were read; empty where the rows come from no file.
    """

    source: str
    frame: pd.DataFrame = field(repr=False)
    sha256: str = ""


def read_file(path: Path) -> TableFile:
    """Read a table from a file, or from standard input where the path is `-`.

    Raises:
        RunTableError: the file cannot be read, or could be read in more than one way.
    """
    source = "standard input" if str(path) == STDIN else str(path)
    kind = SUFFIXES.get(path.suffix.lower(), CSV)
    try:
        data = sys.stdin.buffer.read() if str(path) == STDIN else path.read_bytes()
        kind = _kind_of(data, kind)
        frame = _READERS[kind](data)
        frame.columns = _named_apart([str(name) for name in frame.columns])
    except ImportError as error:
        raise RunTableError(f"{source}: Parquet needs pyarrow; pip install pyarrow") from error
    except (OSError, ValueError) as error:
        raise RunTableError(
            f"{source}: cannot be read as {kind} ({first_line(error)}); {REMEDY}"
        ) from error
    return TableFile(source, frame, hashlib.sha256(data).hexdigest())


def _kind_of(data: bytes, kind: str) -> str:
    """Say what the content is, `kind` where it could be several things."""
    for beginning, what in OTHERS.items():
        if data.startswith(beginning):
            raise ValueError(f"it is {what}")
    if data.startswith(b"PAR1"):
        return PARQUET
    begins_json = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
    return JSON_LINES if kind == CSV and begins_json else kind


def _parquet(data: bytes) -> pd.DataFrame:
    if not data.startswith(b"PAR1"):
        raise ValueError("it does not begin as Parquet does")
    frame = pd.read_parquet(io.BytesIO(data))
    names = [name for name in frame.index.names if name is not None]
    return frame.reset_index(names) if names else frame.reset_index(drop=True)


def _decoded(data: bytes) -> str:
    """Decode text in UTF-8."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8: byte {data[error.start]:#04x}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"line {line} has a NUL byte: is it text in UTF-16?")
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _csv(data: bytes) -> pd.DataFrame:
    """Read comma-separated text: each line has as many fields as the header, kept as text."""
    reader = csv.reader(io.StringIO(_decoded(data), newline=""), strict=True)
    names: list[str] = []
    parts: list[pd.DataFrame] = []
    rows: list[list[str]] = []
    begun = 1  # line of the record's beginning: a quoted field may go over several
    try:
        for fields in reader:
            line, begun = begun, reader.line_num + 1
            shown = ",".join(fields)[:SHOWN]
            if len(fields) < 2 and not shown.strip():
                continue
            if fields[0].startswith("#") and fields[0] != "#":
                raise ValueError(f"line {line} is a comment, {shown!r}: delete such lines")
            if not names:
                names = fields
                _refuse_other_separator(",".join(names))
                continue
            if len(fields) != len(names):
                count = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
                raise ValueError(f"line {line} has {count} and the header {len(names)}: {shown!r}")
            rows.append(fields)
            if len(rows) == ROWS:
                parts.append(_texts(rows, len(names)))
                rows = []
    except csv.Error as error:
        raise ValueError(f"line {begun}: {error}") from error
    frame = pd.concat([*parts, _texts(rows, len(names))], ignore_index=True)
    frame.columns = names
    return frame


def _texts(rows: list[list[str]], width: int) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=range(width), dtype="str")


def _refuse_other_separator(header: str) -> None:
    """Refuse a header line that something other than commas separates."""
    commas = header.count(",")
    for character, name in SEPARATORS.items():
        if header.count(character) > (math.inf if character == " " and commas else commas):
            raise ValueError(f"its fields are separated by {name}, not by commas")


def _json_lines(data: bytes) -> pd.DataFrame:
    """Read an object a line."""
    text = _decoded(data)
    if text.lstrip().startswith("["):
        raise ValueError("it is one JSON array: write an object a line, without the brackets")
    rows: list[dict[str, Any]] = []
    # Not `splitlines`: U+2028 and its kin may stand inside a string.
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_with_keys_once)
        except (ValueError, RecursionError) as error:
            if not rows and _is_json(text):
                raise ValueError("it is one JSON object: write an object a line") from error
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not an object")
        rows.append(row)
    if len(rows) == 1 and rows[0] and all(isinstance(v, dict | list) for v in rows[0].values()):
        raise ValueError("it is one JSON object of columns: write an object a row, a line each")
    return pd.DataFrame(rows)


def _with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if doubled := _doubled(key for key, _ in pairs):
        raise ValueError(f"key {doubled!r} occurs twice")
    return dict(pairs)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _named_apart(names: list[str]) -> list[str]:
    """Take the spaces off the names' ends; number those without one; refuse a name that doubles."""
    stripped = [name.strip() or f"column {i}" for i, name in enumerate(names, start=1)]
    if doubled := _doubled(stripped):
        places = [str(i) for i, name in enumerate(stripped, start=1) if name == doubled]
        raise ValueError(f"columns {' and '.join(places)} are both named {doubled!r}")
    return stripped


def _doubled(names: Iterable[str]) -> str | None:
    """Find the first name that occurs more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


_READERS = {CSV: _csv, JSON_LINES: _json_lines, PARQUET: _parquet}
