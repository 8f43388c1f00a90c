"""A corpus whose units are all finished: its documents in order, read from part files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workloads.data.manifest import INPUT_ORIGIN
from workloads.data.preparing.parts import Finished, part_file
from workloads.data.preparing.pieces import Unit
from workloads.data.preparing.sources import Input

# Of documents that are compared at once: it bounds the memory, about 50 bytes for each of them.
COMPARED_AT_ONCE = 2**22


@dataclass(frozen=True)
class UnitTokens:
    """Consecutive documents of one input, as rows of `parts.DOCUMENT`."""

    input: Input
    documents: np.ndarray
    _where: Finished
    _kept: np.ndarray | None

    @property
    def tokens(self) -> np.ndarray:
        """Read the tokens, one document after the other, each with its end: (tokens,)."""
        part = part_file(self._where.file)
        tokens = part.tokens_of(self._where.place)
        if self._kept is None:
            return tokens
        return tokens[np.repeat(self._kept, part.documents_of(self._where.place)["tokens"])]


class TokenizedCorpus:
    """The documents of all inputs in order. Reading raises DamagedPart.

    Documents that repeat the text of an earlier one are left out where `drop_repeats` says so. The
    `origin` of a document has the number of its input, as well as its row.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        finished: Mapping[str, Finished],
        drop_repeats: bool,
        numbers: Mapping[Input, int],
    ) -> None:
        self._units = [(unit.input, finished[unit.key], numbers[unit.input]) for unit in units]
        self._starts = np.zeros(len(units) + 1, np.int64)  # of documents before each unit
        self._kept: np.ndarray | None = None
        for number, unit in enumerate(self.units()):
            self._starts[number + 1] = self._starts[number] + len(unit.documents)
        repeats = self._repeats()
        self.num_repeats = int(np.count_nonzero(repeats))
        if drop_repeats:
            self._kept = ~repeats

    def units(self, inputs: Iterable[Input] | None = None) -> Iterator[UnitTokens]:
        """Yield the documents of these inputs, or of all, in order."""
        chosen = None if inputs is None else set(inputs)
        for place, (each, where, number) in enumerate(self._units):
            if chosen is None or each in chosen:
                documents, kept = part_file(where.file).documents_of(where.place).copy(), None
                documents["origin"] += number * INPUT_ORIGIN
                if self._kept is not None:
                    kept = self._kept[self._starts[place] : self._starts[place + 1]]
                    documents = documents[kept]
                yield UnitTokens(each, documents, where, kept)

    def _repeats(self) -> np.ndarray:
        """Return which documents repeat the text of an earlier one: bool, (documents,).

        They are compared by 16 bytes of a SHA-256, one share of all hashes at a time.
        """
        found = np.zeros(self._starts[-1], bool)
        shares = -(-found.size // COMPARED_AT_ONCE)
        for share in range(shares):
            places, hashes = [], []
            for start, unit in zip(self._starts, self.units(), strict=False):
                chosen = np.flatnonzero(unit.documents["low"] % shares == share)
                places.append(start + chosen)
                hashes.append(unit.documents[["high", "low"]][chosen])
            place, document = np.concatenate(places), np.concatenate(hashes)
            order = np.lexsort((place, document["low"], document["high"]))
            ordered = document[order]
            found[place[order[1:]]] = ordered[1:] == ordered[:-1]
        return found
