"""The manifest of a token dataset: what was tokenized, how, and the SHA-256 of every shard.

A dataset is a directory that holds `manifest.json` and the shards it lists. The manifest is
written last, so a directory that has one is complete. Format 1 is a bundled corpus, built on
demand; format 2 is what `python -m workloads data prepare` makes of any text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from workloads.errors import InputError

SplitName = Literal["train", "val"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
# How a token is stored: little-endian, unsigned, of 2 or 4 bytes, in numpy's spelling.
TokenType = Literal["<u2", "<u4"]

# Raise it when the same documents would give other shards: it is part of the fingerprint.
FORMAT_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"
INPUT_ORIGIN = 2**40  # more than an input has rows
TOKENIZER_FILE = "tokenizer.json"  # a copy of the tokenizer's, where it has one
NO_SHA256 = "0" * 64  # of the hash of a manifest, while it is taken


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
    """Everything a reader needs to know about the shards of format 1, and what they were built
    from. `sha256` is of its own file (`sealed`); earlier versions wrote none."""

    format: Literal[1]
    source: str
    tokenizer: str
    vocab_size: int
    dtype: TokenType
    val_fraction: float
    fingerprint: str
    train: SplitEntry
    val: SplitEntry
    sha256: str | None = None

    def split(self, name: SplitName) -> SplitEntry:
        return self.train if name == "train" else self.val


class TokenizerEntry(_Entry):
    """The tokenizer; `sha256` is of its file, or of its definition where it has none."""

    name: str
    sha256: str
    vocab_size: int
    end_of_document: int


class InputEntry(_Entry):
    """One input file: its path within its source, SHA-256 and size as it is stored, and the
    documents that were read from it."""

    name: str
    sha256: str
    bytes: int
    documents: int


class Counts(_Entry):
    """The documents of the dataset, UTF-8 bytes of their text, and tokens with ends of documents.

    `duplicates` repeat the text of an earlier document, `dropped` of them were left out and are in
    no other count. `skipped` documents and `skipped_files` could not be read. `longest_document` is
    in tokens, its end included.
    """

    documents: int
    bytes: int
    tokens: int
    duplicates: int
    dropped: int
    skipped: int
    skipped_files: int
    longest_document: int


class FileEntry(_Entry):
    """A file of the dataset beside its shards."""

    file: str
    sha256: str


class PreparedSplit(_Entry):
    """One split of format 2.

    `starts` is a file of little-endian u64: the token of the split's stream at which each document
    begins. `origins` is another: `INPUT_ORIGIN` times the number of the document's input, plus its
    row in that file, counted from 1; 0 where the document is the whole file. Splits of rows that a
    recipe has shuffled know neither documents nor bytes.
    """

    documents: int | None
    bytes: int | None
    tokens: int
    shards: tuple[ShardEntry, ...]
    starts: FileEntry | None
    origins: FileEntry | None


class PreparedManifest(_Entry):
    """Everything that is known of a dataset of format 2. Inputs are in the order of the documents.

    `row_tokens` is given where the shards are sequences of rows of so many tokens. `sha256` is of
    its own file (`sealed`); earlier versions wrote none.
    """

    format: Literal[2]
    recipe: str
    tokenizer: TokenizerEntry
    dtype: TokenType
    text_field: str
    where: tuple[str, ...]
    val_fraction: float
    drop_duplicates: bool
    row_tokens: int | None
    inputs: tuple[InputEntry, ...]
    counts: Counts
    fingerprint: str
    train: PreparedSplit
    val: PreparedSplit
    sha256: str | None = None

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    def split(self, name: SplitName) -> PreparedSplit:
        return self.train if name == "train" else self.val


AnyManifest = Manifest | PreparedManifest
M = TypeVar("M", Manifest, PreparedManifest)
_ANY: TypeAdapter[AnyManifest] = TypeAdapter(Annotated[AnyManifest, Field(discriminator="format")])


def content_fingerprint(
    dtype: str,
    vocab_size: int,
    shards: Mapping[SplitName, tuple[ShardEntry, ...]],
    row_tokens: int | None = None,
) -> str:
    """Return the fingerprint of format 2: 16 hex digits over the tokens, whatever made them.

    Rows count, because they are read in other windows than one stream of the same tokens.
    """
    hashes = {name: [shard.sha256 for shard in shards[name]] for name in SPLITS}
    content: dict[str, object] = {"dtype": dtype, "vocab_size": vocab_size, **hashes}
    if row_tokens:
        content["row_tokens"] = row_tokens
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def too_short(name: SplitName, tokens: int, block_size: int) -> str:
    """Return the error of a split whose shards are all shorter than one sequence."""
    if not tokens:
        return f"the {name} split has no tokens; prepare the text with another --val-fraction"
    return (
        f"the {name} split has {tokens} tokens and no shard holds a window of {block_size + 1}; "
        "lower block_size"
    )


def token_type(vocab_size: int) -> TokenType:
    """Return the smallest type that holds every id of a vocabulary."""
    return "<u2" if vocab_size <= 2**16 else "<u4"


def read_manifest(directory: Path) -> AnyManifest:
    """Read the manifest, of either format, of the dataset in `directory`.

    Raises DataError when it is missing or invalid.
    """
    path = directory / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise damaged(path, "missing") from None
    return parse_manifest(text, path)


def parse_manifest(text: bytes, path: Path) -> AnyManifest:
    """Return the manifest that was read from `path`.

    Raises DataError where it is invalid, or is not as it was written.
    """
    try:
        manifest = _ANY.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the file"  # behind the format
        raise damaged(path, f"{where}: {first['msg']}", first["loc"][:1] == (2,)) from error
    if (stated := manifest.sha256) is not None:
        found = hashlib.sha256(text.replace(stated.encode(), NO_SHA256.encode())).hexdigest()
        if found != stated:
            problem = f"SHA-256 differs: {found}, and it says {stated} of itself"
            raise damaged(path, problem, isinstance(manifest, PreparedManifest))
    return manifest


def manifest_text(manifest: AnyManifest) -> str:
    """Return what the file of a manifest holds."""
    return manifest.model_dump_json(indent=2) + "\n"


def sealed(manifest: M) -> M:
    """Return the manifest with the SHA-256 of its own file, in which zeros stand for the hash."""
    content = manifest_text(manifest.model_copy(update={"sha256": NO_SHA256}))
    digest = hashlib.sha256(content.encode()).hexdigest()
    return manifest.model_copy(update={"sha256": digest})


def damaged(file: Path, problem: str, prepared: bool = False) -> DataError:
    """Return the error for a file of a dataset that is not as it was written."""
    remedy = (
        "run its `python -m workloads data prepare` again: the dataset is put together again"
        if prepared
        else f"delete the directory {file.parent} and run again: it is built again"
    )
    return DataError(f"{file}: {problem}; {remedy}")
