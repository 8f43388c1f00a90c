"""What token data holds: counts, ids, documents, and samples of its text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workloads.data.dataset import TokenFile
from workloads.data.formats.format import TokenStream
from workloads.data.formats.opening import TokenData, endings
from workloads.data.formats.scan import known_scan
from workloads.data.manifest import SPLITS, PreparedSplit, SplitEntry, SplitName
from workloads.data.progress import Progress
from workloads.data.tokenizers.tokenizer import Tokenizer

FIRST_IDS, SAMPLE_IDS = 16, 64


@dataclass(frozen=True)
class StreamFacts:
    """One split. Fields on documents are None where the format does not say where they begin, and
    samples where the tokenizer is not known. `longest_document` is in tokens. `padding` are tokens
    behind the text, which are in no count, None where there are none."""

    tokens: int
    bytes_per_token: float | None
    padding: int | None
    files: int
    max_id: int
    first_ids: list[int]
    rows: int | None
    documents: int | None
    tokens_per_document: float | None
    longest_document: int | None
    samples: list[str] | None


def inspect(data: TokenData, progress: Progress) -> dict[str, Any]:
    """Return what is known of the data, JSON-ready; its tokens are read once, unless they were
    before and have not changed. Counts at the top are of all splits together."""
    splits = {name: _facts(data, name, progress) for name in data.streams}
    facts = list(splits.values())
    documents = [one.documents for one in facts if one.documents is not None]
    return {
        "path": str(data.path),
        "format": data.format,
        "tokens": sum(one.tokens for one in facts),
        "documents": sum(documents) if len(documents) == len(facts) else None,
        "dtype": np.dtype(data.files[0].dtype).name,
        "max_id": max(one.max_id for one in facts),
        "first_ids": facts[0].first_ids,
        "row_tokens": next(iter(data.streams.values())).row_tokens,
        **_of_manifest(data),
        "splits": {name: asdict(one) for name, one in splits.items()},
        "cautions": [sentence for name in data.streams for sentence in endings(data, name)],
    }


def _of_manifest(data: TokenData) -> dict[str, Any]:
    if data.own is None:
        return {}
    tokenizer, dataset = data.own.manifest.tokenizer, data.own.dataset
    return {
        "fingerprint": dataset.fingerprint,
        "tokenizer": tokenizer if isinstance(tokenizer, str) else tokenizer.name,
        "vocab_size": dataset.vocab_size,
        "bytes_per_token": _bytes_per_token(*map(data.own.manifest.split, SPLITS)),
    }


def _bytes_per_token(*splits: SplitEntry | PreparedSplit) -> float | None:
    """Return the UTF-8 bytes of a token of these splits; None where they are not known."""
    counted = [(each.bytes, each.tokens) for each in splits if each.bytes is not None]
    if len(counted) < len(splits) or not (tokens := sum(count for _, count in counted)):
        return None
    return sum(size for size, _ in counted) / tokens


def _facts(data: TokenData, name: SplitName, progress: Progress) -> StreamFacts:
    stream, tokenizer = data.streams[name], data.own.tokenizer if data.own else None
    documents = stream.documents
    return StreamFacts(
        tokens=stream.tokens,
        bytes_per_token=_bytes_per_token(data.own.manifest.split(name)) if data.own else None,
        padding=stream.padding or None,
        files=len(stream.files),
        max_id=max(known_scan(file, progress).greatest_id for file in stream.files),
        first_ids=_first_ids(stream),
        rows=stream.tokens // stream.row_tokens if stream.row_tokens else None,
        documents=documents.count if documents else None,
        tokens_per_document=stream.tokens / documents.count if documents else None,
        longest_document=_longest(stream) if documents else None,
        samples=_samples(stream, tokenizer) if tokenizer else None,
    )


def _first_ids(stream: TokenStream) -> list[int]:
    found: list[int] = []
    for file in stream.files:
        found += _ids(file, 0, FIRST_IDS - len(found)).tolist()
    return found


def _ids(file: TokenFile, first: int, count: int) -> np.ndarray:
    return np.array(file.map()[first : first + count])


def _longest(stream: TokenStream) -> int:
    assert stream.documents
    return max(int(np.diff(edges).max()) for edges in stream.documents.blocks(stream.tokens))


def _samples(stream: TokenStream, tokenizer: Tokenizer) -> list[str]:
    """Return text from the beginning, and from the middle of the middle file."""
    middle = stream.files[len(stream.files) // 2]
    places = [(stream.files[0], 0), (middle, middle.tokens // 2)]
    return [tokenizer.decode(_ids(file, first, SAMPLE_IDS)) for file, first in places]
