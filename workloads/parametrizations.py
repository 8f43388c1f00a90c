"""The table of FFN parametrizations: what planning must know of each kind (no torch).

A new parametrization is a row here and a `Projection` class of the same kind in `ffn.py`.
Definitions: Wei et al. 2024 (arXiv 2406.16450), section 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator


@dataclass(frozen=True)
class Parametrization:
    """One kind: the sizes it takes, of `rank` and `nblocks`, and how many weights it has.

    `weights(n, m, rank, nblocks)` counts those of a projection from n features to m, without the
    bias; they are also its multiply-adds per token. `nblocks` must divide n, m and `rank`.
    """

    sizes: tuple[str, ...]
    weights: Callable[[int, int, int, int], int]


PARAMETRIZATIONS: dict[str, Parametrization] = {
    "dense": Parametrization((), lambda n, m, rank, nblocks: n * m),
    "lowrank": Parametrization(("rank",), lambda n, m, rank, nblocks: (n + m) * rank),
    "blockdense": Parametrization(
        ("rank", "nblocks"), lambda n, m, rank, nblocks: rank * (m + n // nblocks)
    ),
    "blockshuffle": Parametrization(
        ("nblocks",), lambda n, m, rank, nblocks: min(n, m) * (n + m) // nblocks
    ),
}


def _known_kind(name: str) -> str:
    if name not in PARAMETRIZATIONS:
        nearest = difflib.get_close_matches(name.lower(), PARAMETRIZATIONS, n=1, cutoff=0.0)[0]
        kinds = ", ".join(PARAMETRIZATIONS)
        raise ValueError(f"no such FFN kind; the nearest is {nearest} (of {kinds})")
    return name


FFNKind = Annotated[str, AfterValidator(_known_kind)]
