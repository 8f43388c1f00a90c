"""A token dataset that was opened: which files hold its tokens, whatever format they are in.

The loader reads datasets through this module alone. This module imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workloads.data.manifest import DataError, SplitName, TextSize
from workloads.data.order import PATTERN
from workloads.data.tokenizers.tokenizer import Tokenizer

# A smaller share of a mixture would be rounded up.
LEAST_SHARE = 0.5 / PATTERN


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
class MixedSplit:
    """The training splits of several sources by name, and the share of samples that each has."""

    sources: Mapping[str, TokenSplit]
    weights: Mapping[str, float]


@dataclass(frozen=True)
class TokenDataset:
    """A dataset whose files are present and of the right sizes. `directory` is the folder or file
    that errors name.

    `bytes_per_token` are UTF-8 bytes a token, ends of documents included, over the whole validation
    split; None where no manifest says. `tokenizer` is the one that made the tokens, None where it
    is not at hand; `tokenizer_sha256` is its SHA-256, None where that is not known.
    `vocabulary_is_known` is False where the size of the vocabulary is a guess from the greatest id.
    `train_sha256` is of the training tokens, and `cautions` are sentences on tokens that are hardly
    text.
    """

    directory: Path
    fingerprint: str
    size: TextSize
    files: Mapping[SplitName, tuple[TokenFile, ...]]
    bytes_per_token: float | None = None
    row_tokens: int | None = None
    tokenizer_sha256: str | None = None
    vocabulary_is_known: bool = True
    train_sha256: str | None = None
    cautions: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = field(default=None, compare=False)

    @property
    def vocab_size(self) -> int:
        return self.size.vocab_size

    def split(self, name: SplitName) -> TokenSplit:
        """Map the shards of one split into memory."""
        shards = tuple(file.map() for file in self.files[name])
        return TokenSplit(name, self.directory, shards, self.row_tokens)

    @property
    def sources(self) -> Mapping[str, TokenDataset]:
        """The one dataset, under an empty name, as a mixture has several."""
        return {"": self}

    @property
    def weights(self) -> Mapping[str, float]:
        """The share of the samples that comes from each source."""
        return {"": 1.0}


@dataclass(frozen=True)
class Mixture:
    """Several datasets of one vocabulary, and the share of the samples that each has in training.

    The validation loss is over equal parts of all of them, whatever their shares, so that it
    compares mixtures. Raises DataError where the vocabularies differ, or a share is too small.
    """

    sources: Mapping[str, TokenDataset]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        require_one_vocabulary({name: each.size for name, each in self.sources.items()})
        require_shares(self.weights)

    @property
    def fingerprint(self) -> str:
        return mixed_fingerprint({n: each.fingerprint for n, each in self.sources.items()})

    def split(self, name: SplitName) -> MixedSplit:
        """Map the shards of one split of every source into memory."""
        return MixedSplit({n: each.split(name) for n, each in self.sources.items()}, self.weights)


OpenText = TokenDataset | Mixture


def require_shares(weights: Mapping[str, float]) -> None:
    """Raise DataError where a source has less than the least share that an order can give it."""
    total = math.fsum(weights.values())
    for name, weight in weights.items():
        if weight / total < LEAST_SHARE:
            raise DataError(
                f"mixture: {name} has a share of {weight / total:.2g}, and the least that is read "
                f"is {LEAST_SHARE:g}; raise it, or leave the source out"
            )


def require_one_tokenizer(tokenizers: Mapping[str, str | None]) -> None:
    """Raise DataError where texts, by name, were made with different tokenizers, known by their
    SHA-256: the same ids would be other words."""
    known = {name: sha256 for name, sha256 in tokenizers.items() if sha256}
    first = next(iter(known), "")
    for name, sha256 in known.items():
        if sha256 != known[first]:
            raise DataError(
                f"{name} was made with another tokenizer than {first} (SHA-256 {sha256[:8]} and "
                f"{known[first][:8]}); prepare both with one tokenizer"
            )


def rows_too_short(row_tokens: int, block_size: int) -> str:
    """Return the error of a dataset whose rows are all shorter than one sequence."""
    return f"rows of {row_tokens} tokens hold no window of {block_size + 1}; lower block_size"


def mixed_fingerprint(fingerprints: Mapping[str, str]) -> str:
    """Return 16 hex digits over the names and fingerprints of a mixture's sources."""
    content = json.dumps(dict(fingerprints), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def require_one_vocabulary(sizes: Mapping[str, TextSize]) -> None:
    """Raise DataError where the vocabularies of a mixture's sources differ: an id would mean two
    things."""
    vocabularies = {name: size.vocab_size for name, size in sizes.items()}
    if len(set(vocabularies.values())) > 1:
        found = ", ".join(f"{name} {ids:,}" for name, ids in vocabularies.items())
        raise DataError(
            f"the sources of a mixture have different vocabularies ({found} token ids); prepare "
            "all of them with one tokenizer"
        )
