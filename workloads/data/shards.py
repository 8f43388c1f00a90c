"""Token datasets on disk: built once from a source, found again by fingerprint, memory-mapped.

A dataset is the folder `<data root>/<source>-<tokenizer>-<fingerprint>/` with a manifest and shards
of little-endian tokens, uint16 or uint32 by the size of the vocabulary. A document belongs to the
validation split when the hash of its path falls below `val_fraction`, so that adding a document
moves no other one. Each document is followed by an end of document. A split is one stream of tokens
in the order of its corpus, cut into shards: a document may go on in the next shard, but a training
window never does.

This module imports no torch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from kernels.files import write_atomically
from workloads.data.config import DataConfig
from workloads.data.corpora.table import CORPORA
from workloads.data.dataset import TokenDataset, TokenFile
from workloads.data.fingerprint import fingerprint
from workloads.data.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    SPLITS,
    TOKENIZER_FILE,
    AnyManifest,
    DataError,
    FileEntry,
    Manifest,
    PreparedManifest,
    ShardEntry,
    SplitEntry,
    SplitName,
    TextSize,
    damaged,
    manifest_text,
    read_manifest,
    sealed,
    token_type,
)
from workloads.data.shard_writer import MAX_SHARD_TOKENS, ShardWriter
from workloads.data.tokenizers.table import TOKENIZERS, load_tokenizer
from workloads.data.unchanged import remembered
from workloads.files import appearing_whole


def prepare(config: DataConfig, data_root: Path) -> TokenDataset:
    """Open the dataset of `config` below `data_root`, which is built first when it is absent.

    The SHA-256 of every shard is checked, once as long as no shard changes. Builders may run at
    the same time: the first to finish wins, and the others use its dataset. Raises DataError when
    a shard is missing, truncated or corrupt, or when a split would have no document.
    """
    directory = directory_of(config, data_root)
    if not directory.exists():
        build_dataset(config, fingerprint(config), directory)
    dataset = open_dataset(directory)
    check_hashes(directory)
    _keep_tokenizer(config, directory)
    return dataset


def _keep_tokenizer(config: DataConfig, directory: Path) -> None:
    """Copy the tokenizer's file into the dataset, where it has one, so that tokens become text."""
    copy = directory / TOKENIZER_FILE
    if config.tokenizer_file and not copy.exists():
        # A dataset that was built before may lie where nothing can be written.
        with suppress(OSError):
            write_atomically(copy, Path(config.tokenizer_file).read_bytes())


def directory_of(config: DataConfig, data_root: Path) -> Path:
    """Return where the dataset of `config` is, or will be built."""
    tokenizer = Path(config.tokenizer).stem
    return data_root / f"{config.source}-{tokenizer}-{fingerprint(config)}"


def open_dataset(directory: Path) -> TokenDataset:
    """Open a dataset that was built before, in any place, without reading its tokens.

    Raises DataError when the manifest is missing or invalid, or a shard has the wrong size.
    """
    manifest = read_manifest(directory)
    token_bytes = np.dtype(manifest.dtype).itemsize
    prepared = isinstance(manifest, PreparedManifest)
    for path, entry in _shard_files(directory, manifest):
        expected = entry.tokens * token_bytes
        if not path.is_file():
            raise damaged(path, "missing", prepared)
        size = path.stat().st_size
        if size != expected:
            problem = "truncated" if size < expected else "too long"
            raise damaged(path, f"{problem}: {size} bytes, manifest says {expected}", prepared)
    return TokenDataset(
        directory,
        manifest.fingerprint,
        TextSize(manifest.vocab_size, manifest.train.tokens, manifest.val.tokens),
        {name: _token_files(directory, manifest, name) for name in SPLITS},
        manifest.val.bytes / manifest.val.tokens if manifest.val.bytes else None,
        manifest.row_tokens if isinstance(manifest, PreparedManifest) else None,
        _tokenizer_sha256(manifest),
    )


def _tokenizer_sha256(manifest: AnyManifest) -> str | None:
    """Return the SHA-256 of the tokenizer; None where a bundled corpus has that of a file."""
    if isinstance(manifest, PreparedManifest):
        return manifest.tokenizer.sha256
    known = TOKENIZERS.get(manifest.tokenizer)
    return known.sha256 if known else None


def _token_files(directory: Path, manifest: AnyManifest, name: SplitName) -> tuple[TokenFile, ...]:
    return tuple(
        TokenFile(directory / entry.file, manifest.dtype, entry.tokens)
        for entry in manifest.split(name).shards
    )


def build_dataset(
    config: DataConfig, digest: str, directory: Path, *, shard_tokens: int = MAX_SHARD_TOKENS
) -> None:
    """Write the dataset of `config`, whose fingerprint is `digest`, as `directory`.

    It is written beside `directory` and moved into place whole. When another builder was faster,
    its dataset stays and this one is dropped.
    """
    with appearing_whole(directory) as unfinished:
        _write_dataset(config, digest, unfinished, shard_tokens)


def split_of(path: str, val_fraction: float) -> SplitName:
    """Return the split of the document at `path`: a function of its path alone."""
    position = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    return "val" if position < val_fraction else "train"


def require_documents(source: str, name: SplitName, val_fraction: float, count: int) -> None:
    """Raise DataError where `count`, of a split's documents or of their tokens, is zero."""
    if not count:
        raise DataError(
            f"corpus {source} has no document for the {name} split with val_fraction "
            f"{val_fraction}; change val_fraction"
        )


def _write_dataset(config: DataConfig, digest: str, directory: Path, shard_tokens: int) -> None:
    tokenizer = load_tokenizer(config.tokenizer)
    dtype = token_type(tokenizer.vocab_size)
    end = np.array(tokenizer.end_of_document, dtype)
    writers = {name: ShardWriter(directory, name, dtype, shard_tokens) for name in SPLITS}
    documents, text_bytes = Counter[SplitName](), Counter[SplitName]()
    for document in CORPORA[config.source].documents():
        tokens = np.append(tokenizer.encode(document.text).astype(dtype), end)
        name = split_of(document.path, config.val_fraction)
        writers[name].add(tokens)
        documents[name] += 1
        text_bytes[name] += len(document.text.encode())
    for name in SPLITS:
        require_documents(config.source, name, config.val_fraction, documents[name])
    train, val = (
        SplitEntry(
            documents=documents[name],
            bytes=text_bytes[name],
            tokens=writers[name].tokens,
            shards=writers[name].finish(),
        )
        for name in SPLITS
    )
    manifest = sealed(
        Manifest(
            format=FORMAT_VERSION,
            source=config.source,
            tokenizer=Path(config.tokenizer).name,
            vocab_size=tokenizer.vocab_size,
            dtype=dtype,
            val_fraction=config.val_fraction,
            fingerprint=digest,
            train=train,
            val=val,
        )
    )
    write_atomically(directory / MANIFEST_FILE, manifest_text(manifest), durable=True)


def check_hashes(directory: Path) -> None:
    """Raise DataError where the SHA-256 of a file that has changed is not the manifest's."""
    manifest = read_manifest(directory)
    files: list[ShardEntry | FileEntry] = [entry for _, entry in _shard_files(directory, manifest)]
    prepared = isinstance(manifest, PreparedManifest)
    if isinstance(manifest, PreparedManifest):
        for split in map(manifest.split, SPLITS):
            files += [entry for entry in (split.starts, split.origins) if entry]
    for entry in files:
        path = directory / entry.file
        found = remembered({"sha256": path.name}, [path], partial(_sha256, path))
        if found != entry.sha256:
            problem = f"SHA-256 differs: {found}, manifest says {entry.sha256}"
            raise damaged(path, problem, prepared)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shard_files(directory: Path, manifest: AnyManifest) -> list[tuple[Path, ShardEntry]]:
    return [
        (directory / entry.file, entry) for entry in manifest.train.shards + manifest.val.shards
    ]
