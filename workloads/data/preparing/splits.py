"""How the splits of a prepared dataset are written: shards, and where documents start in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from workloads.data.manifest import PreparedSplit, SplitName, TokenType
from workloads.data.shard_writer import HashedFile, ShardWriter


class SplitWriter:
    """Writes one split, of documents in order or of rows."""

    def __init__(
        self,
        directory: Path,
        name: SplitName,
        dtype: TokenType,
        shard_tokens: int,
        row_tokens: int | None,
    ) -> None:
        self._shards = ShardWriter(directory, name, dtype, shard_tokens)
        # Rows are cut through documents and shuffled, so nothing is known of documents in them.
        self._starts = None if row_tokens else HashedFile(directory / f"{name}-documents.bin")
        self._origins = None if row_tokens else HashedFile(directory / f"{name}-origins.bin")
        self._documents = 0
        self._bytes = 0

    def add_documents(self, documents: np.ndarray, tokens: np.ndarray) -> None:
        """Append documents: rows of `parts.DOCUMENT`, and their tokens one after the other."""
        assert self._starts and self._origins
        ends = self._shards.tokens + np.cumsum(documents["tokens"])
        self._starts.write((ends - documents["tokens"]).astype("<u8"))
        self._origins.write(documents["origin"].astype("<u8"))
        self._documents += len(documents)
        self._bytes += int(documents["bytes"].sum())
        self._shards.add(tokens)

    def add_rows(self, tokens: np.ndarray) -> None:
        """Append rows, of shape (rows, row_tokens)."""
        self._shards.add(tokens.reshape(-1))

    def finish(self) -> PreparedSplit:
        """Have all files on the disk, and return the split's entry in the manifest."""
        by_document = self._starts is not None
        return PreparedSplit(
            documents=self._documents if by_document else None,
            bytes=self._bytes if by_document else None,
            tokens=self._shards.tokens,
            shards=self._shards.finish(),
            starts=self._starts.close() if self._starts else None,
            origins=self._origins.close() if self._origins else None,
        )


class Scratch:
    """A temporary file of tokens that are to be read in another order than they come."""

    def __init__(self, path: Path, dtype: TokenType) -> None:
        self._file = path.open("w+b")
        self._dtype = np.dtype(dtype)

    def append(self, tokens: np.ndarray) -> None:
        """Append tokens, of any shape."""
        self._file.write(tokens.astype(self._dtype, copy=False).tobytes())

    def read(self, start: int, count: int) -> np.ndarray:
        """Read `count` tokens from the one at `start` on."""
        self._file.seek(start * self._dtype.itemsize)
        return np.frombuffer(self._file.read(count * self._dtype.itemsize), self._dtype)

    def close(self) -> None:
        self._file.close()


@contextmanager
def scratch(folder: Path, dtype: TokenType) -> Iterator[Scratch]:
    """Provide a scratch file in a folder, and remove it at the end."""
    path = folder / "scratch.bin"
    file = Scratch(path, dtype)
    try:
        yield file
    finally:
        file.close()
        path.unlink()
