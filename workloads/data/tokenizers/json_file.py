"""Tokenizers in `tokenizer.json` files, as the `tokenizers` library and the hub have them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Library

from kernels.files import read_bytes
from workloads.data.manifest import DataError
from workloads.data.tokenizers.cutting import cutter
from workloads.data.tokenizers.tokenizer import Tokenizer

# The tokens that end a document in public vocabularies; the first that a vocabulary has is taken.
ENDS_OF_DOCUMENT = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<|endofdocument|>", "<eos>")
TOGETHER = 2**17  # characters that are encoded at once, at least; it bounds the memory
# Characters that are encoded as a whole, at most: they take about 1 GB of memory.
MOST_UNCUT = 2**22
# What would add tokens to a text, or cut it.
WITHOUT_ADDITIONS = {"truncation": None, "padding": None, "post_processor": None}
# This stands before special tokens in the vocabulary that text is looked up in. No text holds it:
# it is drawn anew by each process, from code points that are not characters.
MARK = "".join(chr(0xFDD0 + secrets.randbelow(32)) for _ in range(26))


class JsonTokenizer(Tokenizer):
    """A `tokenizer.json` that turns documents into ids and adds nothing.

    The file's special tokens, its templates, truncation, padding and dropout are not used: no
    special token is added, and text that looks like one stays text. Added tokens that are not
    special are words of the vocabulary, and found in text. `plain` is the file's content so.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises DataError where it is no tokenizer or has no end of document."""
        content = read_bytes(path)
        self.name = path.name
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            tree = self._tree = json.loads(content)
            self._decoder = Library.from_str(content.decode())
            vocabulary = self._decoder.get_vocab(with_added_tokens=True)
            end = _end_of_document(vocabulary)
            self.plain = _plain(tree, end)
            self._encoder = Library.from_str(json.dumps(self.plain))
            self._encoder.encode_special_tokens = True  # as text
            self._cutter = cutter(self.plain, self._encoder)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        except Exception as error:  # The library raises nothing narrower.
            raise DataError(
                f"{path}: not a tokenizer.json of the tokenizers library ({error})"
            ) from None
        self.vocab_size = max(vocabulary.values()) + 1
        self.end_of_document = vocabulary[end]

    def encode(self, text: str) -> np.ndarray:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        parts = [self._cutter.parts(text) for text in texts]
        ids = self._ids(chain.from_iterable(parts))
        return [np.concatenate(list(islice(ids, len(cut)))) for cut in parts]

    def refusal(self, text: str) -> str | None:
        if len(text) <= MOST_UNCUT:
            return None
        longest = max(map(len, self._cutter.parts(text)))
        if longest <= MOST_UNCUT:
            return None
        return f"{longest:,} characters {self._cutter.uncut}, {MOST_UNCUT:,} at most"

    def _ids(self, parts: Iterable[str]) -> Iterator[np.ndarray]:
        """Yield the ids of each part, of several at a time."""
        group: list[str] = []
        size = 0
        for part in chain(parts, [None]):
            if group and (part is None or size >= TOGETHER):
                found = self._encoder.encode_batch_fast(group, add_special_tokens=False)
                yield from (np.array(encoding.ids, np.uint32) for encoding in found)
                group, size = [], 0
            if part is not None:
                group.append(part)
                size += len(part)

    def as_json(self) -> str:
        return json.dumps(self._tree | WITHOUT_ADDITIONS, ensure_ascii=False)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        array = np.asarray(ids, dtype=np.int64)
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if outside.size:
            raise ValueError(
                f"token id {outside[0]} is outside the vocabulary of {self.name}, 0 to "
                f"{self.vocab_size - 1}"
            )
        kept = array[array != self.end_of_document]
        return self._decoder.decode(kept.tolist(), skip_special_tokens=True)


def _end_of_document(vocabulary: dict[str, int]) -> str:
    for token in ENDS_OF_DOCUMENT:
        if token in vocabulary:
            return token
    raise DataError(
        f"has none of the tokens that end a document ({', '.join(ENDS_OF_DOCUMENT)}); add one to "
        "its added_tokens"
    )


def _plain(tree: dict[str, Any], end: str) -> dict[str, Any]:
    """Return the tokenizer without what would make text into special tokens or leave it out.

    Its special tokens are renamed, so that no model, which may look up whole words, finds them. One
    that was trained on text which looks like a special token has merges that make it: they go.
    """
    added = tree.get("added_tokens") or []
    special = {token["content"] for token in added if token["special"]} | {end}
    model = dict(tree["model"])

    def renamed(token: str) -> str:
        return MARK + token if token in special else token

    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {renamed(token): number for token, number in vocabulary.items()}
    else:  # of the unigram model: pairs of a token and its score
        model["vocab"] = [[renamed(token), score] for token, score in vocabulary]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _parts(merge) & special]
    if model.get("unk_token"):
        model["unk_token"] = renamed(model["unk_token"])
    if "dropout" in model:
        model["dropout"] = None
    apart = [
        token | {"content": renamed(token["content"]), "special": token["content"] in special}
        for token in added
    ]
    return tree | WITHOUT_ADDITIONS | {"added_tokens": apart, "model": model}


def _parts(merge: str | list[str]) -> set[str]:
    """Return the tokens of a merge: the two that it joins, and the one that it makes."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return {first, second, first + second}
