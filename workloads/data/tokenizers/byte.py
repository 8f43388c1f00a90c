"""Text to token ids and back. The byte tokenizer needs no vocabulary file and no training."""

from collections.abc import Sequence
from typing import Final

import numpy as np


class ByteTokenizer:
    """A token is one UTF-8 byte (ids 0 to 255); id 256 ends a document."""

    name: Final = "byte"
    vocab_size: Final = 257
    end_of_document: Final = 256
    dtype: Final = np.dtype(np.uint16)

    def encode(self, text: str) -> np.ndarray:
        """The ids of `text`, uint16 of shape (UTF-8 bytes,), without an end of document."""
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(self.dtype)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`, of any length.

        Ends of documents are dropped, and bytes that are not UTF-8, which a model can sample,
        become U+FFFD. Raises ValueError on an id outside the vocabulary.
        """
        array = np.asarray(ids, dtype=np.int64)
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if outside.size:
            raise ValueError(f"token id {outside[0]} is outside the byte vocabulary, 0 to 256")
        kept = array[array != self.end_of_document]
        return kept.astype(np.uint8).tobytes().decode("utf-8", errors="replace")


TOKENIZERS: dict[str, ByteTokenizer] = {ByteTokenizer.name: ByteTokenizer()}
