"""The recipe of RefinedWeb in CLAIRE-Labo/StructuredFFN (arXiv 2406.16450): shuffled rows.

Its result depends on how many processes map the documents; here it is one, so that it is fixed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from workloads.data.manifest import DataError
from workloads.data.preparing.corpus import TokenizedCorpus
from workloads.data.preparing.recipes.recipe import Recipe, Target
from workloads.data.preparing.sources import Input
from workloads.data.preparing.splits import Scratch, SplitWriter, scratch

# `train-04217-of-05379` is in group 42.
SHARD_NUMBER = re.compile(r"-(\d{3})\d{2}-of-\d{5}")
KEPT = 0.1  # of the rows of a group
SPLIT_SEED = 1005
BATCH_DOCUMENTS = 1000
ROW_TOKENS = 1025  # a block of 1,024 and one more, so that each of them has a target
ROWS_AT_ONCE = 4096


class StructuredFFN(Recipe):
    """Rows of 1,025 tokens, cut within batches of 1,000 documents; the rest of a batch is dropped.

    Files are grouped by the first three digits of their shard number. Of each group, a tenth of the
    rows is kept, drawn with the group's number as the seed. All kept rows are shuffled: the first
    are for validation, the rest train. Files without a shard number are kept whole. Without a
    fraction for validation the rows stay in order. Shuffling needs 24 bytes of memory a row.
    """

    text_field = "content|text"
    row_tokens = ROW_TOKENS

    def check(self, inputs: list[Input]) -> None:
        without = [each for each in inputs if _group(each) is None]
        if without and len(without) < len(inputs):
            raise DataError(
                f"{without[0].path}: has no shard number such as -04217-of-05379, and other files "
                "have one; name files of one kind"
            )

    def write(self, corpus: TokenizedCorpus, target: Target) -> None:
        with scratch(target.folder, target.dtype) as rows:
            order = _collect(corpus, rows)
            count = 0
            if target.val_fraction:
                order = order[np.random.default_rng(SPLIT_SEED).permutation(order.size)]
                count = math.ceil(target.val_fraction * order.size)
            _copy(rows, order[:count], target.val)
            _copy(rows, order[count:], target.train)


def _collect(corpus: TokenizedCorpus, rows: Scratch) -> np.ndarray:
    """Write the kept rows of all groups in the order of their text. Return the places that they
    have there, group by group in the order of the draw: (rows,)."""
    groups: dict[int | None, dict[Input, None]] = {}
    for unit in corpus.units():
        groups.setdefault(_group(unit.input), {})[unit.input] = None
    order, before = [np.empty(0, np.int64)], 0
    for group in sorted(groups, key=lambda number: number or 0):
        drawn = _draw(group, _num_rows(corpus, groups[group]))
        last, kept = 0, np.sort(drawn)
        for batch in _batches(corpus, groups[group]):
            cut = _cut(batch)
            here = kept[np.searchsorted(kept, last) : np.searchsorted(kept, last + len(cut))]
            rows.append(cut[here - last])
            last += len(cut)
        order.append(before + np.searchsorted(kept, drawn))
        before += drawn.size
    return np.concatenate(order)


def _num_rows(corpus: TokenizedCorpus, inputs: Iterable[Input]) -> int:
    tables = [unit.documents["tokens"] for unit in corpus.units(inputs)]
    lengths = np.concatenate(tables)
    ends = np.append(0, np.cumsum(lengths))
    batches = np.append(ends[:-1:BATCH_DOCUMENTS], ends[-1])
    return int(np.sum(np.diff(batches) // ROW_TOKENS))


def _cut(batch: np.ndarray) -> np.ndarray:
    count = batch.size // ROW_TOKENS
    return batch[: count * ROW_TOKENS].reshape(count, ROW_TOKENS)


def _copy(rows: Scratch, places: np.ndarray, split: SplitWriter) -> None:
    for at in range(0, places.size, ROWS_AT_ONCE):
        starts = places[at : at + ROWS_AT_ONCE] * ROW_TOKENS
        split.add_rows(np.stack([rows.read(int(i), ROW_TOKENS) for i in starts]))


def _group(each: Input) -> int | None:
    found = SHARD_NUMBER.search(each.name)
    return int(found[1]) if found else None


def _draw(group: int | None, num_rows: int) -> np.ndarray:
    """Return the rows that are kept of a group, in the order of the draw."""
    if group is None:
        return np.arange(num_rows)
    return np.random.default_rng(group).permutation(num_rows)[: int(KEPT * num_rows)]


def _batches(corpus: TokenizedCorpus, inputs: Iterable[Input]) -> Iterator[np.ndarray]:
    """Yield the tokens of every `BATCH_DOCUMENTS` documents."""
    batch: list[np.ndarray] = []
    room = BATCH_DOCUMENTS
    for unit in corpus.units(inputs):
        tokens = unit.tokens
        ends = np.append(0, np.cumsum(unit.documents["tokens"], dtype=np.int64))
        at = 0
        while at < len(unit.documents):
            until = min(at + room, len(unit.documents))
            batch.append(tokens[ends[at] : ends[until]])
            at, room = until, room - (until - at)
            if not room:
                yield np.concatenate(batch)
                batch, room = [], BATCH_DOCUMENTS
    if batch:
        yield np.concatenate(batch)
