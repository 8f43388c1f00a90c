"""Part files: the tokens of finished pieces, kept until the corpus needs them again.

A part file is a NumPy archive, whose members carry checksums: the tokens of all documents one after
the other, a row for each document and one for each unit. It appears whole or not at all. A unit
that is in a part file is never tokenized again.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from kernels.files import write_atomically
from workloads.data.manifest import DataError, token_type
from workloads.data.preparing.documents import BadRows, Text, documents
from workloads.data.preparing.pieces import Piece, Settings, Unit
from workloads.data.preparing.sources import Input, require_unchanged
from workloads.data.tokenizers.table import load_tokenizer
from workloads.data.tokenizers.tokenizer import Tokenizer

# Of texts that are encoded together; it bounds the memory of the tokenizer.
BATCH_CHARACTERS = 2**19
# `high` and `low` are the first 16 bytes of the SHA-256 of the text; tokens count its end; `origin`
# is its row in its input (`manifest.INPUT_ORIGIN`).
DOCUMENT = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("tokens", "<i8"), ("bytes", "<i8"), ("origin", "<u8")]
)
UNIT = np.dtype([("key", "S64"), ("documents", "<i8"), ("skipped", "<i8")])
GROUP = "group-"


@dataclass(frozen=True)
class PartEntry:
    """What was made of one piece. `problem` is that of the first row that was left out."""

    file: Path
    documents: int
    tokens: int
    text_bytes: int
    problem: str


class DamagedPart(Exception):
    """A part file that cannot be read back. It is to be deleted and made again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


def tokenize_piece(piece: Piece, settings: Settings, parts_dir: Path, skip_bad: bool) -> PartEntry:
    """Turn the documents of a piece into tokens, and write them as a part file in `parts_dir`.

    Its bytes are a function of the piece and the settings. Raises DataError at the first row that
    cannot be used, unless `skip_bad` has it left out, and where an input is not as it was scanned.
    """
    tokenizer = _tokenizer(settings.tokenizer, settings.tokenizer_sha256, settings.gigatoken)
    with _unchanged({unit.input for unit in piece.units}):
        members, problem = _tokenized(piece, settings, tokenizer, skip_bad)
    file = parts_dir / f"{_name(piece)}.npz"
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **members)
    write_atomically(file, content.getvalue(), durable=True)
    documents, tokens = len(members["documents"]), members["tokens"].size
    return PartEntry(file, documents, tokens, piece.text_bytes, problem)


@contextmanager
def _unchanged(inputs: Collection[Input]) -> Iterator[None]:
    """Raise DataError where inputs change before the end, also in place of what follows from it."""
    try:
        yield
    except DataError:
        require_unchanged(inputs)
        raise
    require_unchanged(inputs)


def _tokenized(
    piece: Piece, settings: Settings, tokenizer: Tokenizer, skip_bad: bool
) -> tuple[dict[str, np.ndarray], str]:
    """Return the members of the part file of a piece, and what is wrong with the first row that was
    left out; empty where none was."""
    tokens, rows, units = [], [], []
    bad = _BadRows(skip_bad)
    for unit in piece.units:
        texts = bad.removed(documents(unit, settings, tokenizer.refusal))
        before, skipped = len(rows), bad.count
        for batch in _batches(texts):
            encoded = tokenizer.encode_batch([each.text for each in batch])
            for each, ids in zip(batch, encoded, strict=True):
                tokens.append(_ended(ids, tokenizer))
                rows.append(_document(each, ids.size + 1))
        units.append((unit.key.encode(), len(rows) - before, bad.count - skipped))
    table = np.array(rows, DOCUMENT)
    stream = np.concatenate(tokens) if tokens else np.empty(0, token_type(tokenizer.vocab_size))
    return {"tokens": stream, "documents": table, "units": np.array(units, UNIT)}, bad.first


class _BadRows:
    """Rows that could not be used: the first is an error, or all are counted."""

    def __init__(self, skip: bool) -> None:
        self.count = 0
        self.first = ""
        self._skip = skip

    def removed(self, found: Iterable[Text | BadRows]) -> Iterator[Text]:
        for each in found:
            if isinstance(each, Text):
                yield each
                continue
            if not self._skip:
                raise DataError(each.problem)
            self.count += each.count
            self.first = self.first or each.problem


def _batches(texts: Iterable[Text]) -> Iterator[list[Text]]:
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text.text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ended(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    document = np.empty(ids.size + 1, token_type(tokenizer.vocab_size))
    document[:-1] = ids
    document[-1] = tokenizer.end_of_document
    return document


def _document(text: Text, tokens: int) -> tuple[int, int, int, int, int]:
    content = text.text.encode()
    digest = hashlib.sha256(content).digest()
    high, low = (int.from_bytes(digest[at : at + 8], "big") for at in (0, 8))
    return high, low, tokens, len(content), text.row or 0


def _name(piece: Piece) -> str:
    if len(piece.units) == 1:
        return piece.units[0].key
    keys = "".join(unit.key for unit in piece.units)
    return GROUP + hashlib.sha256(keys.encode()).hexdigest()


@lru_cache(maxsize=1)
def _tokenizer(name: str, sha256: str, gigatoken: bool) -> Tokenizer:
    # Pieces run in parallel; the tokenizer's own threads would only be in their way.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = load_tokenizer(name, gigatoken)
    if tokenizer.sha256 != sha256:
        raise DataError(f"tokenizer {name}: its file has changed; run again")
    return tokenizer


# Reading


class PartFile:
    """A part file that is read as far as it is asked for. Reading raises DamagedPart."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def units(self) -> np.ndarray:
        """The rows of `UNIT`."""
        return self._member("units")

    @cached_property
    def documents(self) -> np.ndarray:
        """The rows of `DOCUMENT`."""
        return self._member("documents")

    @cached_property
    def tokens(self) -> np.ndarray:
        """The tokens of all documents, each with its end, of shape (tokens,)."""
        return self._member("tokens")

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Where units end among the documents, and documents among the tokens; from 0 on."""
        counts = self.units["documents"], self.documents["tokens"]
        documents, tokens = (np.append(0, np.cumsum(each, dtype=np.int64)) for each in counts)
        return documents, tokens

    def documents_of(self, place: int) -> np.ndarray:
        """Return the document rows of the unit at a place."""
        ends = self._ends[0]
        return self.documents[ends[place] : ends[place + 1]]

    def tokens_of(self, place: int) -> np.ndarray:
        """Return the tokens of the unit at a place."""
        documents, tokens = self._ends
        return self.tokens[tokens[documents[place]] : tokens[documents[place + 1]]]

    def _member(self, name: str) -> np.ndarray:
        try:
            # A member is read to its end, since its checksum is compared only there.
            with zipfile.ZipFile(self.path) as archive:
                content = archive.read(f"{name}.npy")
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):  # EINVAL: of a place before the file
                raise
            raise DamagedPart(self.path) from error
        except Exception as error:  # Damage of the directory has many names.
            raise DamagedPart(self.path) from error


@lru_cache(maxsize=4)
def part_file(path: Path) -> PartFile:
    """Open a part file; those used last stay open in memory."""
    return PartFile(path)


@dataclass(frozen=True)
class Finished:
    """Where the tokens of a unit are: a part file, and the unit's place in it."""

    file: Path
    place: int


def find_finished(
    parts_dir: Path, units: Iterable[Unit], with_skipped: bool
) -> dict[str, Finished]:
    """Return where the units are that are finished, by key; `with_skipped`, also those of which
    rows were left out. Raises DamagedPart."""
    found: dict[str, Finished] = {}
    names = {path.name for path in parts_dir.glob("*.npz")}
    groups = [name for name in sorted(names) if name.startswith(GROUP)]
    singles = [name for unit in units if (name := f"{unit.key}.npz") in names]
    for path in (parts_dir / name for name in (*groups, *singles)):
        if with_skipped and not path.name.startswith(GROUP):  # Its name says it all.
            found[path.stem] = Finished(path, 0)
            continue
        for at, (key, _, skipped) in enumerate(PartFile(path).units.tolist()):
            if with_skipped or not skipped:
                found[key.decode()] = Finished(path, at)
    return found
