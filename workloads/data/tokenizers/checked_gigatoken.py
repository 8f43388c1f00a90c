"""A faster encoder for the same ids: the gigatoken library, checked against `tokenizers`.

It takes a twentieth of the time or less. It is young, so it is used only when asked for, must give
the reference's ids for a text of awkward characters when it is loaded, and for one document of
every batch afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from workloads.data.manifest import DataError
from workloads.data.tokenizers.json_file import JsonTokenizer
from workloads.data.tokenizers.tokenizer import Tokenizer

CHECKED_CHARACTERS = 20_000  # of a document that is encoded twice, at most
AWKWARD = (
    "Don't  stop: 'tis\t3.14 and 1234567 words\r\n\n  é e\u0301 漢字かな עִבְרִית नमस्ते "
    "🙂🏳️‍🌈\u200b\u00a0\u2028\u3000x "
    "</s> <s><|endoftext|> <unk> [INST] ▁ ▁▁a \x00\x1c\ufeff\ufdd0\U0010ffff１２𝔘 _a_b--c...!?; "
    + "long" * 300
    + " " * 300
    + "\n" * 300
)


class GigatokenTokenizer(Tokenizer):
    """A tokenizer whose ids are those of another one, its reference, and take less time."""

    def __init__(self, reference: JsonTokenizer) -> None:
        """Raise DataError where the library is not installed or gives other ids."""
        try:
            self._awkward: Any = import_module("awkward")
            library: Any = import_module("gigatoken")
        except ImportError:
            raise DataError(
                "--gigatoken: needs that library: pip install -e .[gigatoken]"
            ) from None
        if any(not token["special"] for token in reference.plain["added_tokens"]):
            raise DataError(f"{reference.name}: has added words; run without --gigatoken")
        self.name, self.sha256 = reference.name, reference.sha256
        self.vocab_size, self.end_of_document = reference.vocab_size, reference.end_of_document
        self._reference = reference
        try:
            plain = json.dumps(reference.plain | {"added_tokens": []})
            self._library = library.Tokenizer.from_json(plain)
        except Exception as error:  # The library names none.
            raise DataError(f"{reference.name}: {error}; run without --gigatoken") from None
        for text in (AWKWARD, *AWKWARD.split(" ")):
            self._check(text, self._encoded([text])[0])

    def encode(self, text: str) -> np.ndarray:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        found = self._encoded(texts)
        short = (i for i, text in enumerate(texts) if 0 < len(text) <= CHECKED_CHARACTERS)
        if (number := next(short, None)) is not None:
            self._check(texts[number], found[number])
        return found

    def refusal(self, text: str) -> str | None:
        return self._reference.refusal(text)

    def as_json(self) -> str:
        return self._reference.as_json()

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._reference.decode(ids)

    def _encoded(self, texts: Sequence[str]) -> list[np.ndarray]:
        # Pieces run in parallel already.
        found = self._library.encode_batch(list(texts), parallel=False)
        ids = np.asarray(self._awkward.flatten(found), np.uint32)
        return np.split(ids, np.cumsum(self._awkward.num(found).to_numpy())[:-1])

    def _check(self, text: str, found: np.ndarray) -> None:
        if not np.array_equal(found, self._reference.encode(text)):
            raise DataError(
                f"{self.name}: gigatoken gives other ids than tokenizers for the text "
                f"{text[:40]!r}...; run without --gigatoken"
            )
