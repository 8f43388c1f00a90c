"""Token data checked from the first byte to the last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workloads.data.dataset import TokenFile
from workloads.data.formats.format import TokenStream
from workloads.data.formats.opening import TokenData
from workloads.data.formats.scan import Scan, check_ids, scan
from workloads.data.manifest import (
    MANIFEST_FILE,
    SPLITS,
    TOKENIZER_FILE,
    AnyManifest,
    DataError,
    PreparedManifest,
    ShardEntry,
    SplitName,
    content_fingerprint,
    damaged,
)
from workloads.data.progress import Progress
from workloads.data.tokenizers.table import load_tokenizer


@dataclass(frozen=True)
class Verified:
    """What was checked: tokens and files read, the greatest id, the files whose hash is known.

    `gap` is a sentence on what nothing vouches for, if there is such a thing.
    """

    tokens: int
    files: int
    max_id: int
    hashed: int
    vocab_size: int | None
    gap: str


def verify(data: TokenData, vocab_size: int | None, progress: Progress) -> Verified:
    """Read all of the data, and compare it with what its headers, index or manifest say.

    Ids must lie below `vocab_size`, or below the vocabulary of the manifest where there is one.
    Raises DataError at the first thing that is wrong.
    """
    if data.foreign:
        data.foreign.check(data.path)
    limit = vocab_size or (data.own.dataset.vocab_size if data.own else None)
    greatest = 0
    for file in data.files:
        found = scan(file, progress)
        _check_hash(data, file, found)
        # A token type with a sign has ids that no vocabulary has.
        check_ids(file, found, limit or 1 + max(found.greatest_id, 0))
        greatest = max(greatest, found.greatest_id)
    for indexes in data.own.indexes.values() if data.own else ():
        for index in (indexes.starts, indexes.origins):
            _check_hash(data, index, scan(index))
    for stream in data.streams.values():
        _check_documents(data, stream)
    if data.own:
        _check_manifest(data.path, data.own.manifest)
    tokens = sum(file.tokens for file in data.files)
    hashed = len(data.own.hashes) if data.own else 0
    return Verified(tokens, len(data.files), greatest, hashed, limit, _gap(data))


def _gap(data: TokenData) -> str:
    if data.own is None or data.own.manifest.sha256:
        return ""
    return (
        f"{MANIFEST_FILE} itself is not covered: it was written by an earlier version, without a "
        "SHA-256 of its own"
    )


def _check_hash(data: TokenData, file: TokenFile, found: Scan) -> None:
    if data.own and found.sha256 != (expected := data.own.hashes[file.path]):
        prepared = isinstance(data.own.manifest, PreparedManifest)
        problem = f"SHA-256 differs: {found.sha256}, manifest says {expected}"
        raise damaged(file.path, problem, prepared)


def _check_manifest(directory: Path, manifest: AnyManifest) -> None:
    """Raise DataError where the statements of a manifest contradict one another: its fingerprint
    is not that of its shards, or the splits do not sum to the counts."""
    if not isinstance(manifest, PreparedManifest):  # its fingerprint is of the text
        return
    shards: dict[SplitName, tuple[ShardEntry, ...]]
    shards = {name: manifest.split(name).shards for name in SPLITS}
    pairs = [
        (
            "fingerprint",
            manifest.fingerprint,
            content_fingerprint(manifest.dtype, manifest.vocab_size, shards, manifest.row_tokens),
        )
    ]
    pairs += [
        (f"{name}.tokens", manifest.split(name).tokens, sum(each.tokens for each in shards[name]))
        for name in SPLITS
    ]
    counts = manifest.counts
    if not manifest.row_tokens:  # rows leave tokens out
        pairs += [
            (f"counts.{field}", getattr(counts, field), _sum_of(field, manifest))
            for field in ("documents", "bytes", "tokens")
        ]
    documents = sum(each.documents for each in manifest.inputs)
    pairs.append(("counts.documents", counts.documents, documents))
    copy = directory / TOKENIZER_FILE
    if copy.is_file():
        pairs.append(
            ("tokenizer.sha256", manifest.tokenizer.sha256, load_tokenizer(str(copy)).sha256)
        )
    for field, stated, found in pairs:
        if stated != found:
            problem = f"{field} is {stated}, and by what it counts {found}"
            raise damaged(directory / MANIFEST_FILE, problem, prepared=True)


def _sum_of(field: str, manifest: PreparedManifest) -> int:
    return sum(getattr(manifest.split(name), field) for name in SPLITS)


def _check_documents(data: TokenData, stream: TokenStream) -> None:
    """Raise DataError where documents do not follow one another from the first token to the
    last."""
    if stream.documents is None:
        return
    expected, document = 0, 0
    for edges in stream.documents.blocks(stream.tokens):
        wrong = np.flatnonzero(np.diff(edges) < 0)
        if edges[0] != expected or wrong.size:
            at = document + (int(wrong[0]) if edges[0] == expected else 0)
            raise DataError(
                f"{data.path}: document {at} does not begin where the one before ends; "
                "write the data again"
            )
        expected, document = edges[-1], document + edges.size - 1
