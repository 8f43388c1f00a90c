"""What a format of token data is: files that others wrote, read without conversion, and files that
others read, written from a stream of tokens."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np

from workloads.data.dataset import TokenFile
from workloads.data.manifest import DataError, SplitName

BLOCK_TOKENS = 2**20  # tokens, or document starts, in memory at a time
SPLIT_IN_NAME = re.compile(r"(?:^|[._-])(train|val|valid|validation)(?=[._-]|$)")


@dataclass(frozen=True)
class DocumentStarts:
    """Where the documents of a stream begin.

    `read(first, last)` returns the token offsets of documents `first` to `last - 1`, int64 of shape
    (last - first,).
    """

    count: int
    read: Callable[[int, int], np.ndarray]

    def blocks(self, tokens: int, size: int = BLOCK_TOKENS) -> Iterator[np.ndarray]:
        """Yield the edges of at most `size` documents at a time, in order, of a stream of so many
        tokens.

        Document i of a block reaches from edge i to edge i + 1.
        """
        for first in range(0, self.count, size):
            last = min(first + size, self.count)
            end = self.read(last, last + 1) if last < self.count else np.array([tokens])
            yield np.append(self.read(first, last), end)


@dataclass(frozen=True)
class TokenStream:
    """The tokens of one split: files of one type, in order, and what is known of the documents.

    Where `row_tokens` is given, the stream consists of independent rows of so many tokens.
    `padding` are the tokens behind the text that fill its last files; they are in no count and are
    not read.
    """

    files: tuple[TokenFile, ...]
    documents: DocumentStarts | None = None
    row_tokens: int | None = None
    padding: int = 0

    @property
    def tokens(self) -> int:
        return sum(file.tokens for file in self.files)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all tokens in order, in arrays of bounded size."""
        for file in self.files:
            for _, block in file_blocks(file):
                yield block


def file_blocks(file: TokenFile) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the tokens of a file in arrays of bounded size, each behind its first token's number.

    Raises DataError where the file ends early.
    """
    with file.path.open("rb") as opened:
        opened.seek(file.offset)
        for first in range(0, file.tokens, BLOCK_TOKENS):
            wanted = min(BLOCK_TOKENS, file.tokens - first)
            block = np.fromfile(opened, file.dtype, wanted)
            if block.size < wanted:
                raise DataError(
                    f"{file.path}: ends at token {first + block.size} of {file.tokens}; it changed "
                    "while it was read: run again"
                )
            yield first, block


@dataclass(frozen=True)
class Layout:
    """How an export is laid out; None leaves the choice to the format."""

    block: int | None = None
    """Tokens of one row or sequence."""
    chunk: int | None = None
    """Tokens of one file."""
    pad: int | None = None
    """Id that fills the last file."""
    prefix: str | None = None
    """What the names of the files begin with."""


@dataclass(frozen=True)
class Tokens:
    """What a format writes: `blocks()` yields the tokens in order, ids below `vocab_size`."""

    blocks: Callable[[], Iterator[np.ndarray]]
    count: int
    vocab_size: int
    documents: DocumentStarts | None = None


class Format(ABC):
    """A way to store tokens. A new one is a class in a file beside this one, and a row of the
    table."""

    name: ClassVar[str]
    options: ClassVar[frozenset[str]] = frozenset({"prefix"})
    """The fields of Layout that `write` heeds."""

    @abstractmethod
    def is_at(self, path: Path) -> bool:
        """Return whether a path, of a file, a folder or a prefix of files, looks like this
        format."""

    @abstractmethod
    def read(self, path: Path) -> Mapping[SplitName, TokenStream]:
        """Return the streams at a path, whose headers and sizes are checked, without reading the
        tokens. One that names no split counts as `train`. Raises DataError."""

    def check(self, path: Path) -> None:  # noqa: B027  not abstract: most formats have no more
        """Check what `read` leaves out because it takes long, but for the tokens. Raises
        DataError."""

    def how_to_end(self, file: TokenFile, id: int, tokens: int) -> str:
        """Return what to do where so many last tokens of a file, all of one id, are padding."""
        return f"cut them off: truncate -s -{tokens * np.dtype(file.dtype).itemsize} {file.path}"

    @abstractmethod
    def dtype(self, vocab_size: int) -> str:
        """Return how ids of such a vocabulary are stored, in numpy's spelling. Raises DataError
        where the format cannot hold them."""

    @abstractmethod
    def stem(self, split: SplitName, prefix: str | None) -> str:
        """Return what the names of the files of a split begin with."""

    @abstractmethod
    def write(self, tokens: Tokens, folder: Path, stem: str, layout: Layout) -> str | None:
        """Write the files of one split into a folder; return a sentence on tokens that were added
        or left out, if any were. Raises DataError on a layout or tokens that the format does not
        have."""


def split_of_name(name: str) -> SplitName | None:
    """Return the split that the name of a file or a prefix speaks of."""
    found = SPLIT_IN_NAME.search(name)
    return None if not found else "train" if found[1] == "train" else "val"


def plain_file(path: Path, dtype: str, offset: int = 0) -> TokenFile:
    """Return a file of tokens behind a header of `offset` bytes.

    Raises DataError where it is missing or has no token or a part of one.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing; put it back")
    token_bytes, size = np.dtype(dtype).itemsize, path.stat().st_size
    tokens, odd = divmod(size - offset, token_bytes)
    if odd:
        raise DataError(
            f"{path}: {size} bytes, which end {odd} bytes into a {np.dtype(dtype).name} token at "
            f"byte {size - odd}; copy the file again, whole"
        )
    if tokens <= 0:
        raise DataError(f"{path}: empty, {size} bytes hold no token; write it again")
    return TokenFile(path, dtype, tokens, offset)


def copy_tokens(tokens: Tokens, dtype: str, file: BinaryIO) -> None:
    """Write all tokens to an open file, as `dtype`."""
    for block in tokens.blocks():
        file.write(block.astype(dtype, copy=False).data)
