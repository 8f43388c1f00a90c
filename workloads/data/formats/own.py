"""`shards`: a dataset of this platform, with what its manifest says beyond the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from workloads.data.dataset import TokenDataset, TokenFile
from workloads.data.formats.format import DocumentStarts, TokenStream, file_blocks
from workloads.data.manifest import (
    MANIFEST_FILE,
    TOKENIZER_FILE,
    AnyManifest,
    DataError,
    Manifest,
    SplitEntry,
    SplitName,
    damaged,
    read_manifest,
)
from workloads.data.shard_writer import DATASET_FILE, SHARD_NAME
from workloads.data.shards import open_dataset
from workloads.data.tokenizers.table import TOKENIZERS, load_tokenizer
from workloads.data.tokenizers.tokenizer import Tokenizer

INDEX_TYPE = "<u8"


@dataclass(frozen=True)
class Indexes:
    """The files that hold a number for each document of a split: where it begins, and where it
    comes from (`manifest.PreparedSplit`)."""

    starts: TokenFile
    origins: TokenFile


@dataclass(frozen=True)
class OwnData:
    """An opened dataset, its manifest, and its streams with their documents. Splits without tokens
    have no stream, and only datasets of `data prepare` have indexes. `hashes` are the SHA-256 of
    all files. The tokenizer is None where it is not at hand."""

    dataset: TokenDataset
    manifest: AnyManifest
    streams: Mapping[SplitName, TokenStream]
    indexes: Mapping[SplitName, Indexes]
    hashes: Mapping[Path, str]
    tokenizer: Tokenizer | None


def is_own(path: Path) -> bool:
    """Return whether there is a dataset of this platform, or one whose manifest is missing."""
    return (path / MANIFEST_FILE).exists() or any(
        SHARD_NAME.fullmatch(each.name) for each in path.glob("*.bin")
    )


def part_of_dataset(path: Path) -> str | None:
    """Return the error of a path that names one file of a dataset of this platform; None of any
    other."""
    folder = path.parent
    if path.is_file() and (folder / MANIFEST_FILE).is_file() and DATASET_FILE.fullmatch(path.name):
        return f"{path}: is one file of the dataset {folder}; name the folder"
    return None


def read_own(directory: Path) -> OwnData:
    """Open a dataset of this platform. Raises DataError where it is not sound."""
    if not (directory / MANIFEST_FILE).exists():
        raise DataError(
            f"{directory / MANIFEST_FILE}: missing, and the shards beside it cannot be read "
            "without; run the dataset's `python -m workloads data prepare` again, or rename the "
            "files where they are no shards"
        )
    dataset, manifest = open_dataset(directory), read_manifest(directory)
    tokenizer = _tokenizer(directory, manifest)
    streams: dict[SplitName, TokenStream] = {}
    indexes: dict[SplitName, Indexes] = {}
    hashes: dict[Path, str] = {}
    for name, files in dataset.files.items():
        if not files:
            continue
        split, documents = manifest.split(name), None
        entries = list(split.shards)
        if isinstance(split, SplitEntry):
            if tokenizer:
                documents = _found_starts(files, split.documents, tokenizer.end_of_document)
        elif split.starts and split.origins and split.documents:
            starts, origins = (
                _index(directory / entry.file, split.documents)
                for entry in (split.starts, split.origins)
            )
            indexes[name] = Indexes(starts, origins)
            documents = _recorded_starts(starts)
            entries += [split.starts, split.origins]
        hashes |= {directory / entry.file: entry.sha256 for entry in entries}
        streams[name] = TokenStream(files, documents, dataset.row_tokens)
    return OwnData(dataset, manifest, streams, indexes, hashes, tokenizer)


def _tokenizer(directory: Path, manifest: AnyManifest) -> Tokenizer | None:
    """Return the tokenizer that the tokens were made with, where this machine has it."""
    copy = directory / TOKENIZER_FILE
    copied = [load_tokenizer(str(copy))] if copy.is_file() else []
    if isinstance(manifest, Manifest):
        return TOKENIZERS.get(manifest.tokenizer) or next(iter(copied), None)
    candidates = [*TOKENIZERS.values(), *copied]
    return next((one for one in candidates if one.sha256 == manifest.tokenizer.sha256), None)


def _index(path: Path, documents: int) -> TokenFile:
    if not path.is_file():
        raise damaged(path, "missing", prepared=True)
    number_bytes = np.dtype(INDEX_TYPE).itemsize
    if (size := path.stat().st_size) != documents * number_bytes:
        problem = f"{size} bytes, manifest says {documents} documents of {number_bytes}"
        raise damaged(path, problem, prepared=True)
    return TokenFile(path, INDEX_TYPE, documents)


def _recorded_starts(index: TokenFile) -> DocumentStarts:
    starts = index.map()
    return DocumentStarts(index.tokens, lambda first, last: starts[first:last].astype(np.int64))


def _found_starts(files: tuple[TokenFile, ...], count: int, end: int) -> DocumentStarts:
    """Return where documents begin: behind each end of document, which no text contains."""

    @cache
    def starts() -> np.ndarray:
        found, base = [np.zeros(1, np.int64)], 0
        for file in files:
            for first, block in file_blocks(file):
                found.append(np.flatnonzero(block == end) + (base + first + 1))
            base += file.tokens
        places = np.concatenate(found)[:-1]
        if places.size != count:
            problem = f"{places.size} ends of documents, manifest says {count}"
            raise damaged(files[0].path, problem)
        return places

    return DocumentStarts(count, lambda first, last: starts()[first:last])
