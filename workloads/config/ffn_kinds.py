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

Count = Callable[[int, int, int, int], int]


@dataclass(frozen=True)
class Parametrization:
    """One kind: the sizes it takes, of `rank` and `nblocks`, and how many weights it has.

    `weights(n, m, rank, nblocks)` counts those of a projection from n features to m, without the
    bias; they are also its multiply-adds per token. `merge` of the same counts the multiply-adds
    that make one dense matrix of them. `nblocks` must divide n, m and `rank`.
    """

    sizes: tuple[str, ...]
    weights: Count
    merge: Count


def _blockshuffle_merge(n: int, m: int, rank: int, nblocks: int) -> int:
    inner = min(n, m)
    # Where the blocks of both factors share whole numbers of features, pair by pair.
    return n * m * inner // (nblocks**2 if inner % nblocks**2 == 0 else nblocks)


PARAMETRIZATIONS: dict[str, Parametrization] = {
    "dense": Parametrization((), lambda n, m, rank, nblocks: n * m, lambda n, m, rank, nblocks: 0),
    "lowrank": Parametrization(
        ("rank",),
        lambda n, m, rank, nblocks: (n + m) * rank,
        lambda n, m, rank, nblocks: n * m * rank,
    ),
    "blockdense": Parametrization(
        ("rank", "nblocks"),
        lambda n, m, rank, nblocks: rank * (m + n // nblocks),
        lambda n, m, rank, nblocks: n * m * rank // nblocks,
    ),
    "blockshuffle": Parametrization(
        ("nblocks",),
        lambda n, m, rank, nblocks: min(n, m) * (n + m) // nblocks,
        _blockshuffle_merge,
    ),
}


def _known_kind(name: str) -> str:
    if name not in PARAMETRIZATIONS:
        nearest = difflib.get_close_matches(name.lower(), PARAMETRIZATIONS, n=1, cutoff=0.0)[0]
        kinds = ", ".join(PARAMETRIZATIONS)
        raise ValueError(f"no such FFN kind; the nearest is {nearest} (of {kinds})")
    return name


FFNKind = Annotated[str, AfterValidator(_known_kind)]
