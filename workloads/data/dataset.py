"""A token dataset that was opened: which files hold its tokens, whatever format they are in.

The loader reads datasets through this module alone. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workloads.data.manifest import SplitName, TextSize


@dataclass(frozen=True)
class TokenFile:
    """A file of consecutive tokens behind a header of `offset` bytes; `dtype` in numpy's
    spelling."""

    path: Path
    dtype: str
    tokens: int
    offset: int = 0

    def map(self) -> np.ndarray:
        """Map the tokens into memory, read-only, of shape (tokens,)."""
        return np.memmap(self.path, self.dtype, "r", self.offset, (self.tokens,))


@dataclass(frozen=True)
class TokenSplit:
    """The memory-mapped shards of one split, each of shape (tokens,), in stream order.

    Where `row_tokens` is given, a shard is a sequence of independent rows of so many tokens, which
    a window never leaves; else a shard is one stream.
    """

    name: SplitName
    directory: Path
    shards: tuple[np.ndarray, ...]
    row_tokens: int | None = None

    @property
    def num_tokens(self) -> int:
        return sum(shard.size for shard in self.shards)


@dataclass(frozen=True)
class TokenDataset:
    """A dataset whose files are present and of the right sizes. `directory` is the folder or file
    that errors name.

    `bytes_per_token` are UTF-8 bytes a token, ends of documents included, over the validation
    split; None where the text is not known. A loss in nats per token is
    `loss / ln(2) / bytes_per_token` bits per byte.
    """

    directory: Path
    fingerprint: str
    size: TextSize
    files: Mapping[SplitName, tuple[TokenFile, ...]]
    bytes_per_token: float | None = None
    row_tokens: int | None = None

    @property
    def vocab_size(self) -> int:
        return self.size.vocab_size

    def split(self, name: SplitName) -> TokenSplit:
        """Map the shards of one split into memory."""
        shards = tuple(file.map() for file in self.files[name])
        return TokenSplit(name, self.directory, shards, self.row_tokens)
