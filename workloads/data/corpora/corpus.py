"""What a corpus is: documents in a fixed order, and the files that they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Document:
    """One text. `path` is its POSIX path relative to the root of the corpus."""

    path: str
    text: str


class Corpus(ABC):
    """A source of text. A new one is a class in a file beside this one, and a row of the table."""

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Yield the documents, always in the same order."""

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """Return the files that the documents come from: while none of them changes, neither do
        the documents."""
