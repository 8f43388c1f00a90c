"""What a tokenizer is: text to token ids and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from workloads.errors import InputError


class Tokenizer(ABC):
    """A vocabulary of `vocab_size` ids, one of which ends a document.

    `name` is how people name it; `sha256` is of the file that defines it, or of its definition in
    words. A new one is a class in a file beside this one, and a row of the table.
    """

    name: str
    sha256: str
    vocab_size: int
    end_of_document: int

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, of shape (tokens,), without an end of document."""

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text, as `encode` does."""
        return [self.encode(text) for text in texts]

    def refusal(self, text: str) -> str | None:
        """Return why a text cannot be encoded in bounded memory, if it cannot."""
        return None

    def as_json(self) -> str:
        """Return a `tokenizer.json` by which other systems encode text as `encode` does.

        They read text that looks like a special token, such as the end of a document, as that.
        Raises InputError where a tokenizer has none.
        """
        raise InputError(f"tokenizer {self.name} cannot be written as a tokenizer.json")

    def text_bytes(self, ids: np.ndarray) -> int:
        """Return the UTF-8 bytes of the text of `ids`, of shape (tokens,); ends of documents have
        none.

        A character that is cut at the first or last id may count as up to 3 bytes. Raises
        ValueError on an id outside the vocabulary.
        """
        documents = np.split(ids, np.flatnonzero(ids == self.end_of_document) + 1)
        return sum(len(self.decode(each).encode()) for each in documents)

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of `ids`, of any length, without ends of documents.

        Raises ValueError on an id outside the vocabulary.
        """
