"""Datasets in object stores: copied once into the data root, each file checked by its SHA-256.

A URL is any that fsspec reads, such as `s3://bucket/web` with its package installed. A training run
reads windows in random order, which an object store answers too slowly; so it reads the copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from kernels.files import write_atomically
from workloads.data.manifest import (
    MANIFEST_FILE,
    SPLITS,
    TOKENIZER_FILE,
    AnyManifest,
    DataError,
    FileEntry,
    PreparedManifest,
    ShardEntry,
    parse_manifest,
)
from workloads.data.tokenizers.table import TOKENIZERS
from workloads.files import appearing_whole

BLOCK_BYTES = 2**23


def is_url(path: str) -> bool:
    """Return whether a path is one of another place than this machine's file system."""
    return "://" in path and not Path(path).exists()


def remote_manifest(url: str) -> AnyManifest:
    """Read the manifest of the dataset at a URL. Raises DataError where there is none."""
    return parse_manifest(_read(url), Path(f"{url}/{MANIFEST_FILE}"))


def local_copy(url: str, data_root: Path) -> Path:
    """Return the folder below `data_root` that holds the dataset at a URL, copied if it is new.

    Processes may copy at the same time: the first to finish wins. Raises DataError where the URL
    cannot be read, or a file is not what the manifest says.
    """
    content = _read(url)
    manifest = parse_manifest(content, Path(f"{url}/{MANIFEST_FILE}"))
    name = url.rstrip("/").rpartition("/")[2] or "dataset"
    directory = data_root / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if directory.exists():
        return directory
    with appearing_whole(directory) as unfinished:
        for entry in _files(manifest):
            _copy(f"{url.rstrip('/')}/{entry.file}", unfinished / entry.file, entry.sha256)
        write_atomically(unfinished / MANIFEST_FILE, content, durable=True)
    return directory


def _files(manifest: AnyManifest) -> Iterator[ShardEntry | FileEntry]:
    for split in map(manifest.split, SPLITS):
        yield from split.shards
        yield from (entry for _, entry in split if isinstance(entry, FileEntry))
    if isinstance(manifest, PreparedManifest) and manifest.tokenizer.name not in TOKENIZERS:
        yield FileEntry(file=TOKENIZER_FILE, sha256=manifest.tokenizer.sha256)


def _copy(url: str, path: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with _opened(url) as source, path.open("wb") as target:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            target.write(block)
    if digest.hexdigest() != sha256:
        raise DataError(
            f"{url}: SHA-256 differs: {digest.hexdigest()}, manifest says {sha256}; copy the "
            "dataset there again"
        )


def _read(url: str) -> bytes:
    with _opened(f"{url.rstrip('/')}/{MANIFEST_FILE}") as file:
        return file.read()


def _opened(url: str) -> Any:
    """Open a file for reading. Raises DataError, in one line, for whatever the store answers."""
    try:
        return fsspec.open(url, "rb").__enter__()
    except FileNotFoundError:
        raise DataError(
            f"{url}: not there; copy a dataset of `python -m workloads data prepare` to that place"
        ) from None
    except ImportError as error:
        raise DataError(f"{url}: {error}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{url}: cannot be read: {error}; check the URL and the access") from None
