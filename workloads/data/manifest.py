"""The manifest of a token dataset: what was tokenized, how, and the SHA-256 of every shard.

A dataset is a directory that holds `manifest.json` and the shards it lists. The manifest is
written last, so a directory that has one is complete.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from workloads.errors import InputError

SplitName = Literal["train", "val"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
# How a token is stored: little-endian, unsigned, of 2 or 4 bytes, in numpy's spelling.
TokenType = Literal["<u2", "<u4"]

# Raise it when the same documents would give other shards: it is part of the fingerprint.
FORMAT_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class TextSize:
    """The ids of a vocabulary, and the tokens of both splits, ends of documents included."""

    vocab_size: int
    train_tokens: int
    val_tokens: int

    def tokens(self, name: SplitName) -> int:
        """Return the tokens of one split."""
        return self.train_tokens if name == "train" else self.val_tokens


class DataError(InputError):
    """Token data that cannot be used: one line with the file, what is wrong and the remedy."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardEntry(_Entry):
    """One file of tokens without a header."""

    file: str
    tokens: int
    sha256: str


class SplitEntry(_Entry):
    """One split. `bytes` counts UTF-8 bytes; `tokens` counts the ends of documents as well."""

    documents: int
    bytes: int
    tokens: int
    shards: tuple[ShardEntry, ...]


class Manifest(_Entry):
    """Everything a reader needs to know about the shards, and what they were built from."""

    format: Literal[1]
    source: str
    tokenizer: str
    vocab_size: int
    dtype: TokenType
    val_fraction: float
    fingerprint: str
    train: SplitEntry
    val: SplitEntry

    def split(self, name: SplitName) -> SplitEntry:
        return self.train if name == "train" else self.val


def too_short(name: SplitName, tokens: int, block_size: int) -> str:
    """Return the error of a split whose shards are all shorter than one sequence."""
    return (
        f"the {name} split has {tokens} tokens and no shard holds a window of {block_size + 1}; "
        "lower block_size"
    )


def token_type(vocab_size: int) -> TokenType:
    """Return the smallest type that holds every id of a vocabulary."""
    return "<u2" if vocab_size <= 2**16 else "<u4"


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of the dataset in `directory`. Raises DataError when it is missing or
    invalid."""
    path = directory / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise damaged(path, "missing") from None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise damaged(path, f"{where}: {first['msg']}") from error


def damaged(file: Path, problem: str) -> DataError:
    """Return the error for a file of a dataset that is not as it was written."""
    return DataError(
        f"{file}: {problem}; delete the directory {file.parent} and run again: it is built again"
    )
