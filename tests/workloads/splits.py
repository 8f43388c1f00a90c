"""Token splits: made up, and read back as a stream or as documents."""

from pathlib import Path

import numpy as np

from workloads.data.dataset import TokenSplit
from workloads.data.tokenizers.byte import ByteTokenizer


def stream(split: TokenSplit) -> np.ndarray:
    return np.concatenate(split.shards).astype(np.int64)


def documents_of(split: TokenSplit) -> list[str]:
    """The documents of a split, decoded from its tokens."""
    tokens = stream(split)
    ends = np.flatnonzero(tokens == ByteTokenizer.end_of_document)
    assert ends[-1] == tokens.size - 1
    return [ByteTokenizer().decode(part) for part in np.split(tokens, ends + 1)[:-1]]


def tiny_split(*sizes: int) -> TokenSplit:
    """Shards whose tokens count up from zero through all of them, so that a token is its place."""
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return TokenSplit("train", Path("tiny"), tuple(part.astype("<u2") for part in parts))
