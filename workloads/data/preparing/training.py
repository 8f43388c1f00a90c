"""Tokenizers that are trained on text: byte-level BPE of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from kernels.files import write_atomically
from workloads.data.manifest import DataError
from workloads.data.preparing.documents import Condition, Text, documents
from workloads.data.preparing.hub import HUB_FOLDER
from workloads.data.preparing.pieces import Settings, scan, units_of
from workloads.data.preparing.sources import Input, find_inputs

END_OF_DOCUMENT = "</s>"


def train(
    sources: Sequence[str],
    vocab_size: int,
    out: Path,
    text_field: str = "text",
    where: Sequence[str] = (),
    skip_bad: bool = False,
) -> int:
    """Train a tokenizer on the documents of the sources, write it to `out`, and return how many
    ids it has: `vocab_size`, or fewer where the text has no more words.

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
    tokenizer.train_from_iterator(_texts(inputs, settings, skip_bad), trainer)
    if tokenizer.get_vocab_size() <= len(pre_tokenizers.ByteLevel.alphabet()) + 1:
        raise DataError(f"{', '.join(sources)}: no text to learn words from; add sources")
    write_atomically(out, tokenizer.to_str(pretty=True))
    return tokenizer.get_vocab_size()


def _texts(inputs: list[Input], settings: Settings, skip_bad: bool) -> Iterator[str]:
    for each in inputs:
        scanned = scan([each])[each.path]
        if scanned.problem and not skip_bad:
            raise DataError(scanned.problem)
        for unit in units_of(each, scanned, settings):
            for found in documents(unit, settings):
                if isinstance(found, Text):
                    yield found.text
                elif not skip_bad:
                    raise DataError(found.problem)
