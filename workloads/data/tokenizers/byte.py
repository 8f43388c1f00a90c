"""The byte tokenizer: it needs no vocabulary file and no training."""

import hashlib
from collections.abc import Sequence

import numpy as np

from workloads.data.tokenizers.tokenizer import Tokenizer


class ByteTokenizer(Tokenizer):
    """A token is one UTF-8 byte (ids 0 to 255); id 256 ends a document."""

    name = "byte"
    sha256 = hashlib.sha256(b"UTF-8 bytes, 0 to 255; 256 ends a document").hexdigest()
    vocab_size = 257
    end_of_document = 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of `ids`, where bytes that are not UTF-8 become U+FFFD: a model can
        sample such bytes. Raises ValueError on an id outside the vocabulary."""
        array = np.asarray(ids, dtype=np.int64)
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if outside.size:
            raise ValueError(f"token id {outside[0]} is outside the byte vocabulary, 0 to 256")
        kept = array[array != self.end_of_document]
        return kept.astype(np.uint8).tobytes().decode("utf-8", errors="replace")
