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

import errno
import hashlib
import shutil
import uuid
from functools import partial
from pathlib import Path

import numpy as np

from kernels.files import sync_folder, write_atomically
from workloads.data.config import DataConfig
from workloads.data.corpora.table import CORPORA
from workloads.data.dataset import TokenDataset, TokenFile
from workloads.data.fingerprint import fingerprint
from workloads.data.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    SPLITS,
    DataError,
    Manifest,
    ShardEntry,
    SplitEntry,
    SplitName,
    TextSize,
    damaged,
    read_manifest,
    token_type,
)
from workloads.data.tokenizers.table import TOKENIZERS
from workloads.data.unchanged import remembered

MAX_SHARD_TOKENS = 2**27  # 256 MiB as uint16


def prepare(config: DataConfig, data_root: Path) -> TokenDataset:
    """Open the dataset of `config` below `data_root`, which is built first when it is absent.

    The SHA-256 of every shard is checked, once as long as no shard changes. Builders may run at
    the same time: the first to finish wins, and the others use its dataset. Raises DataError when
    a shard is missing, truncated or corrupt, or when a split would have no document.
    """
    digest = fingerprint(config)
    directory = data_root / f"{config.source}-{config.tokenizer}-{digest}"
    if not directory.exists():
        build_dataset(config, digest, directory)
    dataset = open_dataset(directory)
    _check_hashes(directory)
    return dataset


def open_dataset(directory: Path) -> TokenDataset:
    """Open a dataset that was built before, in any place, without reading its tokens.

    Raises DataError when the manifest is missing or invalid, or a shard has the wrong size.
    """
    manifest = read_manifest(directory)
    token_bytes = np.dtype(manifest.dtype).itemsize
    for path, entry in _shard_files(directory, manifest):
        expected = entry.tokens * token_bytes
        if not path.is_file():
            raise damaged(path, "missing")
        size = path.stat().st_size
        if size != expected:
            problem = "truncated" if size < expected else "too long"
            raise damaged(path, f"{problem}: {size} bytes, manifest says {expected}")
    return TokenDataset(
        directory,
        manifest.fingerprint,
        TextSize(manifest.vocab_size, manifest.train.tokens, manifest.val.tokens),
        {name: _token_files(directory, manifest, name) for name in SPLITS},
        manifest.val.bytes / manifest.val.tokens,
    )


def _token_files(directory: Path, manifest: Manifest, name: SplitName) -> tuple[TokenFile, ...]:
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
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        _write_dataset(config, digest, temporary, shard_tokens)
        temporary.rename(directory)
        sync_folder(directory.parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    tokenizer = TOKENIZERS[config.tokenizer]
    dtype = token_type(tokenizer.vocab_size)
    end = np.array(tokenizer.end_of_document, dtype)
    writers: dict[SplitName, _SplitWriter] = {
        "train": _SplitWriter(directory, "train", shard_tokens),
        "val": _SplitWriter(directory, "val", shard_tokens),
    }
    for document in CORPORA[config.source].documents():
        tokens = np.append(tokenizer.encode(document.text).astype(dtype), end)
        writers[split_of(document.path, config.val_fraction)].add(document.text, tokens)
    for name, writer in writers.items():
        require_documents(config.source, name, config.val_fraction, writer.documents)
    manifest = Manifest(
        format=FORMAT_VERSION,
        source=config.source,
        tokenizer=config.tokenizer,
        vocab_size=tokenizer.vocab_size,
        dtype=dtype,
        val_fraction=config.val_fraction,
        fingerprint=digest,
        train=writers["train"].finish(),
        val=writers["val"].finish(),
    )
    write_atomically(
        directory / MANIFEST_FILE, manifest.model_dump_json(indent=2) + "\n", durable=True
    )


class _SplitWriter:
    """Cuts the tokens of one split into files of `shard_tokens` tokens; the last may be smaller."""

    def __init__(self, directory: Path, name: SplitName, shard_tokens: int) -> None:
        self.documents = 0
        self._directory = directory
        self._name = name
        self._shard_tokens = shard_tokens
        self._bytes = 0
        self._shards: list[ShardEntry] = []
        self._pending: list[np.ndarray] = []
        self._room = shard_tokens

    def add(self, text: str, tokens: np.ndarray) -> None:
        """Append one document."""
        self.documents += 1
        self._bytes += len(text.encode())
        while tokens.size:
            part, tokens = tokens[: self._room], tokens[self._room :]
            self._pending.append(part)
            self._room -= part.size
            if not self._room:
                self._write_shard()

    def finish(self) -> SplitEntry:
        """Write what is pending and return the split's entry in the manifest."""
        if self._pending:
            self._write_shard()
        return SplitEntry(
            documents=self.documents,
            bytes=self._bytes,
            tokens=sum(shard.tokens for shard in self._shards),
            shards=tuple(self._shards),
        )

    def _write_shard(self) -> None:
        file = f"{self._name}-{len(self._shards):05d}.bin"
        tokens = np.concatenate(self._pending)
        content = tokens.tobytes()
        write_atomically(self._directory / file, content, durable=True)
        sha256 = hashlib.sha256(content).hexdigest()
        self._shards.append(ShardEntry(file=file, tokens=tokens.size, sha256=sha256))
        self._pending = []
        self._room = self._shard_tokens


def _check_hashes(directory: Path) -> None:
    """Raise DataError where the SHA-256 of a shard that has changed is not the manifest's."""
    for path, entry in _shard_files(directory, read_manifest(directory)):
        found = remembered({"sha256": path.name}, [path], partial(_sha256, path))
        if found != entry.sha256:
            raise damaged(path, f"SHA-256 differs: {found}, manifest says {entry.sha256}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shard_files(directory: Path, manifest: Manifest) -> list[tuple[Path, ShardEntry]]:
    return [
        (directory / entry.file, entry) for entry in manifest.train.shards + manifest.val.shards
    ]
