"""Where a long text may be cut so that the ids of its parts, one after the other, are its own.

The `tokenizers` library needs over a hundred bytes of memory for each character of a text, and a
Llama vocabulary far more time for a long word, so long texts are cut where that provably changes
nothing. Two kinds of tokenizers are understood, and others get their texts whole:

- Those that split text into words by a pattern before anything else (GPT-2, Llama 3, ...). A cut is
  behind a letter, before a space or punctuation, where the pattern is seen to split. The pattern
  must be made of `ALTERNATIVES`, none of which reaches over such a place.
- Those of SentencePiece, as Llama 1 and 2 have them, which write a space as `▁` and split nothing.
  Merges only ever join what some id holds, so they stop between two characters that no id has side
  by side: texts are cut there. Where that holds of each `▁` behind another character, the library
  is made to split words there, which is what makes its cache of words useful.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Library

LONG = 2**16  # characters of a part, at least
WINDOW = 64  # characters on each side of a cut that are looked at
SPACE = "▁"
# Behind a letter, before space or punctuation, but for the apostrophes of contractions.
WORD_END = re.compile(
    r"(?<=[^\W\d_])(?=[\s!-&(-/:-@\[-`{-~\u2010-\u2018\u201a-\u2027\u3001-\u3011\uff01-\uff0f])"
)
SPLITTERS = {"ByteLevel", "Split", "Digits", "Punctuation"}
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
# Of o200k, which GPT-4o has.
_BEFORE_A_WORD = r"[^\r\n\p{L}\p{N}]?"
_CASED_WORDS = (
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
# What the patterns of public tokenizers consist of. None matches a letter and behind it a space or
# punctuation, but for the apostrophes of contractions; and none looks at what is further away.
ALTERNATIVES = {
    *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", _CONTRACTIONS, r"'(?i:[sdmt]|ll|ve|re)"),
    *(r"\p{L}+", r" ?\p{L}+", r"\s?\p{L}+", r"[^\r\n\p{L}\p{N}]?\p{L}+"),
    r"[^\r\n\p{L}\p{N}]?+\p{L}+",
    *(r"\p{N}", r"\p{N}+", r" ?\p{N}+", r"\s?\p{N}+", r"\p{N}{1,3}", r"\d", r"\d+", r"[0-9]"),
    *(r"[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{N}]+", r"\s?[^\s\p{L}\p{N}]+"),
    *(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]++[\r\n]*", r" ?[^\s\p{L}\p{N}]+[\r\n/]*"),
    *(r"\s", r"\s+", r"\s+(?!\S)", r"\s*[\r\n]", r"\s*[\r\n]+", r"[\r\n]", r"[\r\n]+", r"\n+"),
    *(f"{_BEFORE_A_WORD}{word}{_CONTRACTIONS}?" for word in _CASED_WORDS),
}  # fmt: skip
# A bar between alternatives, or what holds bars of its own: a class, a group, an escape.
_PARTS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\((?:\\.|[^()\\])*\)|[^|]|(?P<bar>\|)", re.DOTALL)


class Cutter(ABC):
    """Cuts text into parts whose ids, one after the other, are those of the text.

    `uncut` says of so many characters why they are one part.
    """

    uncut = "without an end of a word"

    def parts(self, text: str) -> list[str]:
        """Return the parts, each of at least `LONG` characters but the last."""
        return list(self._parts(text))

    def _parts(self, text: str) -> Iterator[str]:
        start = 0
        while len(text) - start > LONG:
            at = self._next(text, start + LONG)
            if at is None:
                break
            yield text[start:at]
            start = at
        yield text[start:]

    @abstractmethod
    def _next(self, text: str, start: int) -> int | None:
        """Return the first place from `start` on at which the text may be cut."""


class Whole(Cutter):
    """Leaves texts whole."""

    uncut = "in one text, which this tokenizer gives no place to cut"

    def _next(self, text: str, start: int) -> int | None:
        return None


class AtWords(Cutter):
    """Cuts between words that a pattern finds."""

    def __init__(self, splitter: Any) -> None:
        self._splitter = splitter

    def _next(self, text: str, start: int) -> int | None:
        places = (found.start() for found in WORD_END.finditer(text, start))
        return next((at for at in places if self._splits(text, at)), None)

    def _splits(self, text: str, at: int) -> bool:
        first = max(0, at - WINDOW)
        words = self._splitter.pre_tokenize_str(text[first : at + WINDOW])
        return any(begin == at - first for _, (begin, _) in words)


class SentencePiece(Cutter):
    """Cuts between characters that no id has side by side.

    It normalizes text itself, because only the first part begins with a space of its own. The
    library is changed to match.
    """

    def __init__(self, vocabulary: dict[str, int], library: Library) -> None:
        self._joined = {token[at : at + 2] for token in vocabulary for at in range(len(token) - 1)}
        library.normalizer = None  # pyright: ignore[reportAttributeAccessIssue]: it may be none
        if not any(pair[1] == SPACE and pair[0] != SPACE for pair in self._joined):
            words = pre_tokenizers.Split(Regex(f"{SPACE}+[^{SPACE}]*"), "isolated")
            library.pre_tokenizer = words

    def parts(self, text: str) -> list[str]:
        return super().parts(SPACE + text.replace(" ", SPACE) if text else "")

    def _next(self, text: str, start: int) -> int | None:
        places = range(start, len(text))
        return next((at for at in places if text[at - 1 : at + 1] not in self._joined), None)


def cutter(tree: dict[str, Any], library: Library) -> Cutter:
    """Return what cuts texts for the tokenizer of a JSON tree, which was read as `library`."""
    if _splits_words(tree):
        return AtWords(library.pre_tokenizer)
    if _is_sentencepiece(tree):
        return SentencePiece(tree["model"]["vocab"], library)
    return Whole()


def _splits_words(tree: dict[str, Any]) -> bool:
    normalizer, splitter = tree.get("normalizer"), tree.get("pre_tokenizer")
    if splitter is None or (normalizer is not None and normalizer["type"] != "NFC"):
        return False
    steps = splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter]
    understood = all(
        step["type"] in SPLITTERS and not step.get("add_prefix_space") and _is_local(step)
        for step in steps
    )
    return understood and all(
        token["special"] or _is_word(token) for token in tree.get("added_tokens") or []
    )


def _is_local(step: dict[str, Any]) -> bool:
    """Return whether no match of a step reaches over a place where texts are cut."""
    if step["type"] != "Split":
        return True
    if (pattern := step["pattern"].get("Regex")) is None:
        return not WORD_END.search(step["pattern"]["String"])
    alternatives, start = [], 0
    for found in _PARTS.finditer(pattern):
        if found["bar"]:
            alternatives.append(pattern[start : found.start()])
            start = found.end()
    return {*alternatives, pattern[start:]} <= ALTERNATIVES


def _is_word(token: dict[str, Any]) -> bool:
    """Return whether an added token, which is found before words are, stays within a word."""
    return not (token["lstrip"] or token["rstrip"] or WORD_END.search(token["content"]))


def _is_sentencepiece(tree: dict[str, Any]) -> bool:
    model, normalizer = tree["model"], tree.get("normalizer") or {}
    steps = [
        (step["type"], step.get("prepend"), step.get("pattern"), step.get("content"))
        for step in normalizer.get("normalizers") or []
    ]
    written = [("Prepend", SPACE, None, None), ("Replace", None, {"String": " "}, SPACE)]
    of_bytes = {f"<0x{byte:02X}>" for byte in range(256)}
    return (
        tree.get("pre_tokenizer") is None
        and steps == written
        and model["type"] == "BPE"
        and not model.get("ignore_merges")
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        # A character without an id of its own is a row of bytes, which no merge joins.
        and bool(model.get("byte_fallback"))
        and of_bytes <= set(model["vocab"])
        and not any("<0x" in "".join(merge) for merge in model["merges"])
        and all(token["special"] for token in tree.get("added_tokens") or [])
    )
