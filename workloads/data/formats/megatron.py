"""`megatron`: the pair `PREFIX.bin` and `PREFIX.idx` of Megatron's indexed datasets.

`.bin` holds the tokens of all sequences, one after another. `.idx` holds, little-endian: `MMIDIDX`
and two zeros, version 1 (uint64), the type's code (uint8), the number of sequences and of document
edges (uint64 each), the tokens of each sequence (int32), the byte of `.bin` at which each begins
(int64), and the document edges (int64): document i is sequences edge i to edge i + 1
(github.com/NVIDIA/Megatron-LM, `megatron/core/datasets/indexed_dataset.py`). What is written here
has one sequence a document, its end included, as Megatron's `preprocess_data.py` writes it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from workloads.data.formats.flat import one_file_a_split
from workloads.data.formats.format import (
    BLOCK_TOKENS,
    DocumentStarts,
    Format,
    Layout,
    Tokens,
    TokenStream,
    copy_tokens,
    plain_file,
)
from workloads.data.formats.type_codes import CODES, type_of_code, type_of_vocabulary
from workloads.data.manifest import DataError, SplitName

MAGIC, VERSION = b"MMIDIDX\0\0", 1
HEADER = struct.Struct("<9sQBQQ")
VERSION_BYTE, TYPE_BYTE, SEQUENCES_BYTE = 9, 17, 18
LONGEST_SEQUENCE = 2**31 - 1


class MegatronFormat(Format):
    """One pair of files a split; a path may name the folder, either file or their prefix."""

    name = "megatron"

    def is_at(self, path: Path) -> bool:
        if path.is_dir():
            return any(path.glob("*.idx"))
        return _with(path, ".idx").is_file() or path.suffix == ".idx" or _is_prefix(path)

    def read(self, path: Path) -> Mapping[SplitName, TokenStream]:
        return {name: index.stream() for name, index in _indexes(path).items()}

    def check(self, path: Path) -> None:
        for index in _indexes(path).values():
            index.check()

    def dtype(self, vocab_size: int) -> str:
        return type_of_vocabulary(vocab_size)

    def stem(self, split: SplitName, prefix: str | None) -> str:
        return prefix or split

    def write(self, tokens: Tokens, folder: Path, stem: str, layout: Layout) -> None:
        if tokens.documents is None:
            raise DataError(
                "format megatron stores where each document begins, which this data does not say; "
                "export from a dataset of `data prepare`"
            )
        dtype = self.dtype(tokens.vocab_size)
        with (folder / f"{stem}.bin").open("wb") as file:
            copy_tokens(tokens, dtype, file)
        with (folder / f"{stem}.idx").open("wb") as file:
            _write_index(file, tokens.documents, tokens.count, dtype)


@dataclass(frozen=True)
class _Index:
    """The arrays of an `.idx`, mapped, beside the `.bin` that they are of."""

    path: Path
    dtype: str
    lengths: np.ndarray
    pointers: np.ndarray
    edges: np.ndarray

    def stream(self) -> TokenStream:
        """Return the tokens and where documents begin. Raises DataError where the sizes of the two
        files do not agree."""
        file = plain_file(_with(self.path, ".bin"), self.dtype)
        end = int(self.pointers[-1]) // self._token_bytes + int(self.lengths[-1])
        if end != file.tokens:
            raise DataError(
                f"{self.path}: byte {self._byte_of(self.pointers, self.pointers.size - 1)}: the "
                f"last sequence ends at token {end}, and {file.path.name} has {file.tokens}; "
                "copy both files again, from one place"
            )
        return TokenStream((file,), DocumentStarts(self.edges.size - 1, self._starts))

    def check(self) -> None:
        """Raise DataError where a sequence does not begin at the end of the one before."""
        expected = 0
        for first in range(0, self.lengths.size, BLOCK_TOKENS):
            block = slice(first, first + BLOCK_TOKENS)
            ends = expected + np.cumsum(self.lengths[block], dtype=np.int64) * self._token_bytes
            begins = np.append(expected, ends[:-1])
            wrong = np.flatnonzero((self.pointers[block] != begins) | (self.lengths[block] < 0))
            if wrong.size:
                at = int(wrong[0])
                raise DataError(
                    f"{self.path}: byte {self._byte_of(self.pointers, first + at)}: sequence "
                    f"{first + at} begins at byte {self.pointers[first + at]} of the .bin, and the "
                    f"one before ends at {begins[at]}; write both files again"
                )
            expected = int(ends[-1])

    @property
    def _token_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize

    def _byte_of(self, array: np.ndarray, index: int) -> int:
        """Return where in the `.idx` an entry of the pointers or edges stands."""
        before = HEADER.size + self.lengths.nbytes
        return before + (self.pointers.nbytes if array is self.edges else 0) + 8 * index

    def _starts(self, first: int, last: int) -> np.ndarray:
        sequences = self.edges[first:last]
        wrong = np.flatnonzero((sequences < 0) | (sequences > self.pointers.size))
        if wrong.size:
            at = first + int(wrong[0])
            raise DataError(
                f"{self.path}: byte {self._byte_of(self.edges, at)}: document {at} begins at "
                f"sequence {self.edges[at]}, of {self.pointers.size}; write both files again"
            )
        # A document may have no sequence, at the very end as well.
        inside = np.minimum(sequences, self.pointers.size - 1)
        starts = self.pointers[inside] // self._token_bytes
        return starts + np.where(sequences > inside, self.lengths[-1], 0)


def _indexes(path: Path) -> dict[SplitName, _Index]:
    """Return the index of each split at a path. Raises DataError where one is not sound."""
    place = path if path.is_dir() else _with(path, ".idx")
    return {name: _read_index(file) for name, file in one_file_a_split(place, "*.idx").items()}


def _read_index(path: Path) -> _Index:
    if not path.is_file():
        raise DataError(f"{path}: missing, and {path.stem}.bin is there; put it back")
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise DataError(
            f"{path}: {size} bytes, and a header has {HEADER.size}; copy the file again"
        )
    magic, version, code, sequences, edges = HEADER.unpack(header)
    if magic != MAGIC:
        raise DataError(f"{path}: byte 0: {magic!r}, not {MAGIC!r}; write the file again")
    if version != VERSION:
        raise DataError(
            f"{path}: byte {VERSION_BYTE}: version {version}, and only version {VERSION} is known; "
            "write the file again"
        )
    dtype = type_of_code(code, path, TYPE_BYTE)
    expected = HEADER.size + 12 * sequences + 8 * edges
    if size not in (expected, expected + sequences):  # a byte more a sequence for its mode
        raise DataError(
            f"{path}: byte {SEQUENCES_BYTE}: {sequences} sequences and {edges} document edges are "
            f"{expected} bytes, and the file has {size}; copy the file again"
        )
    if not sequences or edges < 2:
        raise DataError(f"{path}: byte {SEQUENCES_BYTE}: no document; write the file again")
    arrays, offset = [], HEADER.size
    for dtype_of_array, count in (("<i4", sequences), ("<i8", sequences), ("<i8", edges)):
        array = np.memmap(path, dtype_of_array, "r", offset, (count,))
        arrays.append(array)
        offset += array.nbytes
    index = _Index(path, dtype, *arrays)
    if index.edges[0] != 0 or index.edges[-1] != sequences:
        raise DataError(
            f"{path}: byte {offset - 8}: documents reach from sequence {index.edges[0]} to "
            f"{index.edges[-1]}, and not from 0 to {sequences}; write the file again"
        )
    return index


def _with(path: Path, suffix: str) -> Path:
    """Return one file of a pair, of which `path` is the other or the prefix."""
    stem = path.name.removesuffix(".idx").removesuffix(".bin")
    return path.with_name(stem + suffix)


def _is_prefix(path: Path) -> bool:
    return path.suffix != ".bin" and not path.exists() and _with(path, ".bin").is_file()


def _write_index(file: BinaryIO, documents: DocumentStarts, tokens: int, dtype: str) -> None:
    """Write the index of one sequence a document, which follow one another without a gap."""
    count = documents.count
    file.write(HEADER.pack(MAGIC, VERSION, CODES[dtype], count, count + 1))
    for edges in documents.blocks(tokens):
        lengths = np.diff(edges)
        if lengths.max() > LONGEST_SEQUENCE:
            raise DataError(
                f"a document has {lengths.max()} tokens, and format megatron holds "
                f"{LONGEST_SEQUENCE} in one; leave the document out"
            )
        file.write(lengths.astype("<i4").data)
    for edges in documents.blocks(tokens):
        file.write((edges[:-1] * np.dtype(dtype).itemsize).astype("<i8").data)
    for first in range(0, count + 1, BLOCK_TOKENS):
        file.write(np.arange(first, min(first + BLOCK_TOKENS, count + 1), dtype="<i8").data)
