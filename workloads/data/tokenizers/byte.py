"""The byte tokenizer: it needs no vocabulary file and no training."""

import hashlib
from collections.abc import Sequence

import numpy as np

from workloads.data.tokenizers.tokenizer import Tokenizer

END = "<|endoftext|>"  # what the end of a document is called where it needs a name
# Bytes that the `tokenizers` library writes as themselves; it gives the others characters from
# U+0100 on, in their order.
VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


class ByteTokenizer(Tokenizer):
    """A token is one UTF-8 byte (ids 0 to 255); id 256 ends a document."""

    name = "byte"
    sha256 = hashlib.sha256(b"UTF-8 bytes, 0 to 255; 256 ends a document").hexdigest()
    vocab_size = 257
    end_of_document = 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)

    def as_json(self) -> str:
        # Imported late: nothing else here needs the library.
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        vocabulary = {_character(byte): byte for byte in range(256)}
        library = Tokenizer(models.BPE(vocabulary, []))
        # pyright reads these as having no setter.
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # pyright: ignore[reportAttributeAccessIssue]
        library.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
        library.add_special_tokens([AddedToken(END, special=True, normalized=False)])
        return library.to_str()

    def text_bytes(self, ids: np.ndarray) -> int:
        """Return how many of `ids`, of shape (tokens,), end no document: each is a byte."""
        return int(np.count_nonzero(ids != self.end_of_document))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of `ids`, where bytes that are not UTF-8 become U+FFFD: a model can
        sample such bytes. Raises ValueError on an id outside the vocabulary."""
        array = np.asarray(ids, dtype=np.int64)
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if outside.size:
            raise ValueError(f"token id {outside[0]} is outside the byte vocabulary, 0 to 256")
        kept = array[array != self.end_of_document]
        return kept.astype(np.uint8).tobytes().decode("utf-8", errors="replace")


def _character(byte: int) -> str:
    """Return the character that stands for a byte in the `tokenizers` library."""
    if byte in VISIBLE:
        return chr(byte)
    return chr(0x100 + byte - sum(visible < byte for visible in VISIBLE))
