"""The text that a run trains on."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    model_validator,
)

from workloads.schema.base import Config


class DataConfig(Config):
    """Which text, how it becomes tokens, and the share of documents kept for validation."""

    source: Literal["python-stdlib"] = "python-stdlib"
    """The text: the standard library of the running Python."""
    tokenizer: Literal["byte"] = "byte"
    """UTF-8 bytes and an end of document: 257 ids."""
    val_fraction: float = 0.05
    """Share of documents kept for validation."""

    @model_validator(mode="after")
    def _split_is_a_split(self) -> Self:
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction {self.val_fraction} must lie between 0 and 1; try 0.05")
        return self
