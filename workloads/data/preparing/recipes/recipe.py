"""What a recipe is: which documents, in which order, and how they become rows and splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workloads.data.manifest import TokenType
from workloads.data.preparing.corpus import TokenizedCorpus
from workloads.data.preparing.sources import Input
from workloads.data.preparing.splits import SplitWriter


@dataclass(frozen=True)
class Target:
    """Where a recipe writes to. `folder` is for temporary files."""

    train: SplitWriter
    val: SplitWriter
    folder: Path
    dtype: TokenType
    val_fraction: float


class Recipe(ABC):
    """A way to make splits of a corpus. A new one is a class in a file beside this one, and a row
    of the table.

    The attributes are what it does unless the user says otherwise; `where` always holds.
    """

    text_field: str = "text"
    where: tuple[str, ...] = ()
    val_fraction: float = 0.01
    # Given where splits are sequences of rows of so many tokens.
    row_tokens: int | None = None

    def check(self, inputs: list[Input]) -> None:  # noqa: B027 (most recipes take any inputs)
        """Raise DataError where the recipe is not for these inputs."""

    @abstractmethod
    def write(self, corpus: TokenizedCorpus, target: Target) -> None:
        """Write the corpus to the splits, in bounded memory. The tokens that are written are a
        function of the corpus and the fraction for validation alone."""


def falls_below(documents: np.ndarray, fraction: float) -> np.ndarray:
    """Return which documents (rows of `parts.DOCUMENT`) have a hash of their text below a fraction
    of all hashes: a function of the text alone, so that equal texts fall together."""
    return documents["high"].astype(np.float64) / 2**64 < fraction
