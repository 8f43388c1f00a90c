"""The text that a run trains on."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import model_validator

from workloads.data.corpora.table import CORPORA
from workloads.data.tokenizers.table import TOKENIZERS
from workloads.errors import Misfit
from workloads.schema.base import Config
from workloads.schema.known_names import OneOf


class DataConfig(Config):
    """A corpus, how it becomes tokens, and the share of documents kept for validation."""

    source: Annotated[str, OneOf(CORPORA, "corpus")] = "python-stdlib"
    """The corpus: `python-stdlib` is the standard library of the running Python."""
    tokenizer: Annotated[str, OneOf(TOKENIZERS, "tokenizer")] = "byte"
    """`byte`: UTF-8 bytes and an end of document, 257 ids."""
    val_fraction: float = 0.05
    """Share of documents kept for validation."""

    @model_validator(mode="after")
    def _split_is_a_split(self) -> Self:
        if not 0 < self.val_fraction < 1:
            problem = f"val_fraction {self.val_fraction} must lie between 0 and 1; try 0.05"
            raise Misfit(problem, "val_fraction")
        return self
