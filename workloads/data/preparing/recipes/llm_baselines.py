"""The recipe of llm-baselines (epfml/llm-baselines, src/data/slimpajama.py): shuffled documents."""

from __future__ import annotations

import math

import numpy as np

from workloads.data.preparing.corpus import TokenizedCorpus
from workloads.data.preparing.parts import DOCUMENT
from workloads.data.preparing.recipes.recipe import Recipe, Target
from workloads.data.preparing.splits import scratch

SEED = 2357
DOCUMENTS_AT_ONCE = 1024


class LlmBaselines(Recipe):
    """All documents, shuffled with a fixed seed: the first are for validation, the rest train."""

    val_fraction = 0.0005

    def write(self, corpus: TokenizedCorpus, target: Target) -> None:
        with scratch(target.folder, target.dtype) as text:
            tables = [np.empty(0, DOCUMENT)]
            for unit in corpus.units():
                text.append(unit.tokens)
                tables.append(unit.documents)
            documents = np.concatenate(tables)
            lengths = documents["tokens"].astype(np.int64)
            starts = np.cumsum(lengths) - lengths
            order = np.random.default_rng(SEED).permutation(len(documents))
            count = math.ceil(target.val_fraction * len(documents))
            for split, chosen in ((target.val, order[:count]), (target.train, order[count:])):
                for at in range(0, len(chosen), DOCUMENTS_AT_ONCE):
                    some = chosen[at : at + DOCUMENTS_AT_ONCE]
                    read = [text.read(int(starts[i]), int(lengths[i])) for i in some]
                    split.add_documents(documents[some], np.concatenate(read))
