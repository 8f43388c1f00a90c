"""Which documents a run has read: how often, and how many of their tokens it was trained on.

A document was seen where a window read a token of it; it was trained on those of its tokens that
were targets, each time that they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workloads.data.formats.format import TokenStream
from workloads.data.windows import Windows

BLOCK_DOCUMENTS = 2**16  # documents in memory at a time


class Reader(Protocol):
    """What says which window of which source each row of a step reads: a BatchLoader."""

    def windows_of(self, step: int) -> list[tuple[str, int]]: ...


@dataclass(frozen=True)
class DocumentReads:
    """Documents of a source from number `first` on; each array is (documents,).

    `length` are a document's tokens, `windows` how many windows read a token of it, and `tokens`
    how many of its tokens were targets, counted each time.
    """

    first: int
    length: np.ndarray
    windows: np.ndarray
    tokens: np.ndarray


class SourceReads:
    """How often each window of one source was read."""

    def __init__(self, stream: TokenStream, block_size: int) -> None:
        sizes = [file.tokens for file in stream.files]
        self._windows = Windows(sizes, block_size, stream.row_tokens)
        self._block_size = block_size
        self.stream = stream
        self.counts = np.zeros(self._windows.count, np.uint32)  # (windows,)

    @property
    def tokens(self) -> int:
        """Tokens trained on, counted each time."""
        return int(self.counts.sum()) * self._block_size

    @property
    def passes(self) -> float:
        """Passes over the source's windows."""
        return float(self.counts.mean())

    @property
    def knows_documents(self) -> bool:
        """Whether the format says where documents begin, and keeps them whole."""
        return self.stream.documents is not None and self.stream.row_tokens is None

    def documents(self) -> Iterator[DocumentReads]:
        """Yield what was read of all documents, many at a time; nothing where they are not
        known."""
        if self.stream.documents is None or not self.knows_documents:
            return
        first = 0
        for edges in self.stream.documents.blocks(self.stream.tokens, BLOCK_DOCUMENTS):
            yield self._of_documents(first, edges)
            first += edges.size - 1

    def _of_documents(self, first: int, edges: np.ndarray) -> DocumentReads:
        begin, end = self._windows.reading(edges[:-1], edges[1:])
        window, rest = np.divmod(self._windows.targets_before(edges), self._block_size)
        low, high = min(begin.min(), window.min()), max(end.max(), window.max() + 1)
        counts = self.counts[low:high].astype(np.int64)
        before = np.append(0, np.cumsum(counts))  # reads of the windows before each
        counts = np.append(counts, np.zeros(before.size - counts.size, np.int64))
        trained = before[window - low] * self._block_size + counts[window - low] * rest
        return DocumentReads(
            first, np.diff(edges), before[end - low] - before[begin - low], np.diff(trained)
        )


def count_reads(loader: Reader, steps: Iterable[int], sources: Mapping[str, SourceReads]) -> None:
    """Add to each source's counts what the loader reads in these steps."""
    for step in steps:
        read: dict[str, list[int]] = {name: [] for name in sources}
        for name, window in loader.windows_of(step):
            read[name].append(window)
        for name, windows in read.items():
            np.add.at(sources[name].counts, np.array(windows, np.int64), 1)
