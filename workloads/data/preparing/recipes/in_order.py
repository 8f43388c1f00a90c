"""Recipes that keep the documents in their order: the platform's own, and that of PRTS."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from workloads.data.manifest import DataError
from workloads.data.preparing.corpus import TokenizedCorpus, UnitTokens
from workloads.data.preparing.recipes.recipe import Recipe, Target, falls_below
from workloads.data.preparing.sources import Input


class InOrder(Recipe):
    """All documents in their order. Those of validation are chosen by a hash of their text: equal
    texts are in one split, and adding documents moves no other."""

    def write(self, corpus: TokenizedCorpus, target: Target) -> None:
        for unit in corpus.units():
            in_val, tokens = self._in_val(unit, target), unit.tokens
            for split, chosen in ((target.train, ~in_val), (target.val, in_val)):
                if chosen.any():
                    theirs = tokens[np.repeat(chosen, unit.documents["tokens"])]
                    split.add_documents(unit.documents[chosen], theirs)

    def _in_val(self, unit: UnitTokens, target: Target) -> np.ndarray:
        return falls_below(unit.documents, target.val_fraction)


class Prts(InOrder):
    """SlimPajama without GitHub, as PRTS and TinyLlama pack it with one process.

    The files of the folder `validation` are the validation split, and all others train. Packing
    itself is a matter of the format: `data export --format litpkds`.
    """

    where = ("meta.redpajama_set_name!=RedPajamaGithub",)
    val_fraction = 0.0

    def check(self, inputs: list[Input]) -> None:
        for each in inputs:
            if "test" in PurePosixPath(each.name).parts[:-1]:
                raise DataError(
                    f"{each.path}: is of the test split; name the folders train and validation"
                )

    def _in_val(self, unit: UnitTokens, target: Target) -> np.ndarray:
        folders = PurePosixPath(unit.input.path).parts[:-1]
        split = next((part for part in reversed(folders) if part in ("train", "validation")), "")
        return super()._in_val(unit, target) | (split == "validation")
