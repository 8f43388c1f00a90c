"""The table of FFN kinds: what planning must know of each (no torch).

A new kind is one row here and the `Projection` class that the row names. Definitions of the four
kinds: Wei et al. 2024 (arXiv 2406.16450), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, PositiveInt, create_model

from workloads.errors import Misfit
from workloads.schema.base import Config
from workloads.schema.known_names import OneOf

M = TypeVar("M", bound=BaseModel)
# A number for a projection from n to m features with these sizes: f(n, m, sizes).
Count = Callable[[int, int, Mapping[str, int]], int]
# The matrices of such a projection, as (count, rows, columns) for each tensor.
Matrices = Callable[[int, int, Mapping[str, int]], tuple[tuple[int, int, int], ...]]
# The spectral norm of each of them, of one block where there are several.
Norms = Callable[[int, int, Mapping[str, int]], tuple[float, ...]]
# The standard deviation that every normal weight starts with.
INIT_STD = 0.02


@dataclass(frozen=True)
class Size:
    """A positive whole number that a kind's projections are built from, such as a rank.

    `letter` stands for it in names of arms and points: `r256`. It is at most the narrower of
    `hidden_dim` and `ffn_dim` where it is `within_sides`. It divides each of `divides`: fields of
    the model, or other sizes where the FFN has them.
    """

    letter: str
    description: str
    within_sides: bool = False
    divides: tuple[str, ...] = ()


@dataclass(frozen=True)
class FFNKind:
    """One kind of FFN.

    `projection` names its class, `module:Class`. `weights` counts the weights of one projection,
    without the bias; they are also its multiply-adds per token. `inner` counts the features
    between the factors, which training keeps for the backward pass. `merge` counts the
    multiply-adds that turn the weights into one dense matrix; a kind without it is not linear, or
    is dense already. `fraction_size` names the size that a fraction of the dense weights chooses;
    the weights must be proportional to it. `grows` names the sizes that grow in proportion where a
    model grows in width; the others stay. Under `grows_whole` blocks of the last factor tie
    features together: the width grows by whole multiples, and no output can be the mean of others.
    `factors` are the matrices of one projection, blocks counted each; without it, all weights are
    one matrix of m rows. `weight_names` are the names of their parameters, and `initial_norms` the
    spectral norms that they start with; a kind without these takes no transfer rule.
    """

    projection: str
    weights: Count
    inner: Count
    merge: Count | None = None
    sizes: Mapping[str, Size] = field(default_factory=dict)
    fraction_size: str | None = None
    grows: tuple[str, ...] = ()
    grows_whole: bool = False
    factors: Matrices | None = None
    weight_names: tuple[str, ...] = ("weight",)
    initial_norms: Norms | None = None

    def matrices(
        self, n: int, m: int, sizes: Mapping[str, int]
    ) -> tuple[tuple[int, int, int], ...]:
        """Return the matrices of one projection as (count, rows, columns) for each tensor."""
        if self.factors is None:
            return ((1, m, self.weights(n, m, sizes) // m),)
        return self.factors(n, m, sizes)

    @property
    def mergeable(self) -> bool:
        """True where one dense matrix can stand for the weights: guided training and merged
        inference need that."""
        return self.merge is not None


def initial_norm(rows: int, columns: int) -> float:
    """Return the spectral norm that a normal matrix starts with: s (sqrt(rows) + sqrt(columns)) for
    entries of standard deviation s, the limit for large matrices (Bai and Yin 1993)."""
    return INIT_STD * (math.sqrt(rows) + math.sqrt(columns))


RANK = Size("r", "Features between the two factors.", within_sides=True)
BLOCKS = Size("b", "Blocks of a block-diagonal factor.", divides=("hidden_dim", "ffn_dim", "rank"))


def _blockshuffle_merge(n: int, m: int, sizes: Mapping[str, int]) -> int:
    inner, blocks = min(n, m), sizes["nblocks"]
    # Where the blocks of both factors share whole numbers of features, pair by pair.
    return n * m * inner // (blocks**2 if inner % blocks**2 == 0 else blocks)


def _blockshuffle_factors(
    n: int, m: int, sizes: Mapping[str, int]
) -> tuple[tuple[int, int, int], ...]:
    blocks, inner = sizes["nblocks"], min(n, m)
    return (blocks, inner // blocks, n // blocks), (blocks, m // blocks, inner // blocks)


FFN_KINDS: dict[str, FFNKind] = {
    "dense": FFNKind(
        projection="workloads.nn.projections.dense:DenseProjection",
        weights=lambda n, m, sizes: n * m,
        inner=lambda n, m, sizes: 0,
        initial_norms=lambda n, m, sizes: (initial_norm(m, n),),
    ),
    "lowrank": FFNKind(
        projection="workloads.nn.projections.lowrank:LowRankProjection",
        weights=lambda n, m, sizes: (n + m) * sizes["rank"],
        inner=lambda n, m, sizes: sizes["rank"],
        merge=lambda n, m, sizes: n * m * sizes["rank"],
        sizes={"rank": RANK},
        fraction_size="rank",
        factors=lambda n, m, sizes: ((1, sizes["rank"], n), (1, m, sizes["rank"])),
        weight_names=("v", "u"),
        # Each factor has the root of a dense weight's singular values.
        initial_norms=lambda n, m, sizes: 2 * (math.sqrt(initial_norm(m, n)),),
    ),
    "blockdense": FFNKind(
        projection="workloads.nn.projections.blockdense:BlockDenseProjection",
        weights=lambda n, m, sizes: sizes["rank"] * (m + n // sizes["nblocks"]),
        inner=lambda n, m, sizes: sizes["rank"],
        merge=lambda n, m, sizes: n * m * sizes["rank"] // sizes["nblocks"],
        sizes={"rank": RANK, "nblocks": BLOCKS},
        fraction_size="rank",
        grows=("rank", "nblocks"),
        factors=lambda n, m, sizes: (
            (sizes["nblocks"], sizes["rank"] // sizes["nblocks"], n // sizes["nblocks"]),
            (1, m, sizes["rank"]),
        ),
        weight_names=("v", "u"),
        initial_norms=lambda n, m, sizes: (1.0, 1.0),  # Orthonormal, block by block.
    ),
    "blockshuffle": FFNKind(
        projection="workloads.nn.projections.blockshuffle:BlockShuffleProjection",
        weights=lambda n, m, sizes: min(n, m) * (n + m) // sizes["nblocks"],
        inner=lambda n, m, sizes: min(n, m),
        merge=_blockshuffle_merge,
        sizes={"nblocks": BLOCKS},
        grows_whole=True,
        factors=_blockshuffle_factors,
        weight_names=("v", "u"),
        initial_norms=lambda n, m, sizes: (1.0, 1.0),
    ),
}

# Every size of some kind, by name.
SIZES: dict[str, Size] = {
    name: size for kind in FFN_KINDS.values() for name, size in kind.sizes.items()
}

FFNKindName = Annotated[str, OneOf(FFN_KINDS, "FFN kind")]


def with_sizes(value: Any) -> Callable[[type[M]], type[M]]:
    """Return a class decorator that gives a model an optional field of type `value` for each size
    of some kind, but for those that it writes out itself.

    A field that is added so is dumped only where it is set: a new kind changes no dump of others.
    """

    def decorate(model: type[M]) -> type[M]:
        added: dict[str, Any] = {
            name: (
                value | None,
                Field(default=None, description=size.description, exclude_if=lambda v: v is None),
            )
            for name, size in SIZES.items()
            if name not in model.model_fields
        }
        if not added:
            return model
        names = {"__module__": model.__module__, "__doc__": model.__doc__}
        return create_model(model.__name__, __base__=model, **names, **added)

    return decorate


@with_sizes(PositiveInt)
class SizedFFN(Config):
    """An FFN kind, and values for its sizes."""

    kind: FFNKindName = "dense"
    """The kind of the two projections (arXiv 2406.16450, section 3)."""
    rank: PositiveInt | None = None
    """Features between the two factors of lowrank and blockdense."""
    nblocks: PositiveInt | None = None
    """Blocks of blockdense and blockshuffle."""

    @property
    def row(self) -> FFNKind:
        """The kind's row of the table."""
        return FFN_KINDS[self.kind]

    @property
    def is_dense(self) -> bool:
        """True for the kind that the others are compared with."""
        return self.kind == "dense"

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that are given, by name."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields if name in SIZES)
        return {name: value for name, value in values if value is not None}

    @property
    def size_labels(self) -> list[str]:
        """The sizes that are given, each as its letter and its value: `r256`."""
        return [f"{SIZES[name].letter}{value}" for name, value in self.sizes.items()]

    def check_sizes(self) -> None:
        """Raise Misfit unless exactly the kind's own sizes are given."""
        own, given = self.row.sizes, self.sizes
        for name in given:
            if name not in own:
                raise Misfit(f"{name} does not apply to kind {self.kind}; remove it", name)
        missing = [self.in_words(name) for name in own if name not in given]
        if missing:
            them = "it" if len(missing) == 1 else "them"
            raise Misfit(f"kind {self.kind} needs {', and '.join(missing)}; add {them}")

    def in_words(self, size: str) -> str:
        """Return the keys that give a size."""
        return size
