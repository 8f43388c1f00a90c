"""Tokenizers that are trained on text: byte-level BPE of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from kernels.files import write_atomically
from workloads.data.manifest import DataError
from workloads.data.preparing.documents import BadRows, Condition, Text, documents
from workloads.data.preparing.hub import HUB_FOLDER
from workloads.data.preparing.pieces import Settings, scan, units_of
from workloads.data.preparing.sources import Input, find_inputs

END_OF_DOCUMENT = "</s>"
MEASURED_CHARACTERS = 2**20


@dataclass(frozen=True)
class Trained:
    """A tokenizer that was trained: its ids, the documents it saw, and the UTF-8 bytes of a token
    over the first `measured` bytes of their text."""

    ids: int
    documents: int
    bytes_per_token: float
    measured: int


class _Seen:
    """The documents that were read, the beginning of their text, and the rows that were left out
    with the problem of the first."""

    def __init__(self) -> None:
        self.documents = self.left_out = 0
        self.problem = ""
        self.sample: list[str] = []
        self._characters = 0

    def texts(self, inputs: list[Input], settings: Settings, skip_bad: bool) -> Iterator[str]:
        """Yield the text of every document. Raises DataError at a bad row, unless it is skipped."""
        for found in _found(inputs, settings):
            if isinstance(found, Text):
                self.documents += 1
                if self._characters < MEASURED_CHARACTERS:
                    self.sample.append(found.text[: MEASURED_CHARACTERS - self._characters])
                    self._characters += len(self.sample[-1])
                yield found.text
                continue
            if not skip_bad:
                raise DataError(found.problem)
            self.left_out += found.count
            self.problem = self.problem or found.problem


def train(
    sources: Sequence[str],
    vocab_size: int,
    out: Path,
    text_field: str = "text",
    where: Sequence[str] = (),
    skip_bad: bool = False,
) -> Trained:
    """Train a tokenizer on the documents of the sources, and write it to `out`. It has `vocab_size`
    ids, or fewer where the text has no more words.

    Id 0 ends a document, and 1 to 256 are the bytes. The same documents in any order give the same
    tokenizer. Raises DataError where a source or a row cannot be read, unless `skip_bad` has
    it left out, and where there is no text.
    """
    tokenizer = Library(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    settings = Settings("", "", text_field, tuple(where))
    for condition in where:
        Condition.parse(condition)
    inputs = find_inputs(sources, out.parent / HUB_FOLDER)
    seen = _Seen()
    tokenizer.train_from_iterator(seen.texts(inputs, settings, skip_bad), trainer)
    if seen.left_out and not seen.documents:
        raise DataError(f"all {seen.left_out:,} rows are left out, the first: {seen.problem}")
    if tokenizer.get_vocab_size() <= len(pre_tokenizers.ByteLevel.alphabet()) + 1:
        raise DataError(f"{', '.join(sources)}: no text to learn words from; add sources")
    write_atomically(out, tokenizer.to_str(pretty=True))
    measured = sum(len(text.encode()) for text in seen.sample)
    tokens = sum(len(each.ids) + 1 for each in tokenizer.encode_batch(seen.sample))
    return Trained(tokenizer.get_vocab_size(), seen.documents, measured / tokens, measured)


def _found(inputs: list[Input], settings: Settings) -> Iterator[Text | BadRows]:
    for each in inputs:
        scanned = scan([each])[each.path]
        if scanned.problem:
            yield BadRows(scanned.problem)
        for unit in units_of(each, scanned, settings):
            yield from documents(unit, settings)
