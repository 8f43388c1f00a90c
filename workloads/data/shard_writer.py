"""How shards are written: as their tokens come, so that memory does not grow with them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from workloads.data.manifest import FileEntry, ShardEntry, SplitName, TokenType

MAX_SHARD_TOKENS = 2**27  # 256 MiB as uint16
SHARD_NAME = re.compile(r"(train|val)-\d{5,}\.bin")
# Those beside the shards hold a number for each document of a split.
DATASET_FILE = re.compile(r"manifest\.json|(train|val)-(\d{5,}|documents|origins)\.bin")


class HashedFile:
    """A new file that knows the SHA-256 of what was written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("xb")
        self._digest = hashlib.sha256()

    def write(self, array: np.ndarray) -> None:
        """Append the bytes of an array."""
        content = np.ascontiguousarray(array).data.cast("B")
        self._file.write(content)
        self._digest.update(content)

    def close(self) -> FileEntry:
        """Have the content on the disk, and return the file's entry in the manifest."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return FileEntry(file=self._path.name, sha256=self._digest.hexdigest())


class ShardWriter:
    """Cuts the tokens of one split into files of `shard_tokens` tokens; the last may be smaller."""

    def __init__(
        self, directory: Path, name: SplitName, dtype: TokenType, shard_tokens: int
    ) -> None:
        self.tokens = 0
        self._directory = directory
        self._name = name
        self._dtype = dtype
        self._shard_tokens = shard_tokens
        self._shards: list[ShardEntry] = []
        self._file: HashedFile | None = None
        self._room = shard_tokens

    def add(self, tokens: np.ndarray) -> None:
        """Append tokens, of shape (tokens,)."""
        self.tokens += tokens.size
        while tokens.size:
            part, tokens = tokens[: self._room], tokens[self._room :]
            if self._file is None:
                file = f"{self._name}-{len(self._shards):05d}.bin"
                self._file = HashedFile(self._directory / file)
            self._file.write(part.astype(self._dtype, copy=False))
            self._room -= part.size
            if not self._room:
                self._close_shard(self._file)

    def finish(self) -> tuple[ShardEntry, ...]:
        """Close the last shard and return the entries of all in the manifest."""
        if self._file is not None:
            self._close_shard(self._file)
        return tuple(self._shards)

    def _close_shard(self, file: HashedFile) -> None:
        tokens = self._shard_tokens - self._room
        entry = file.close()
        self._shards.append(ShardEntry(file=entry.file, tokens=tokens, sha256=entry.sha256))
        self._file, self._room = None, self._shard_tokens
