"""The operations under test: the reference of each, its dense matrix, and random inputs."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kernels import block_dense, block_shuffle
from kernels.factored import FactoredLinear
from tests.kernels.checks import Dense, Inputs, Operation


@dataclass(frozen=True)
class Kind:
    """An operation, its custom operator, its plain-torch reference, and its dense matrix (m, n)."""

    operation: Operation
    custom_op: FactoredLinear
    reference: Operation
    dense: Dense
    u_in_blocks: bool


@dataclass(frozen=True)
class Case:
    """An operation from n to m features, with `rank` features between its two factors."""

    kind: Kind
    n: int
    m: int
    rank: int
    blocks: int

    def draw(self, batch: tuple[int, ...], bias: bool = True) -> Inputs:
        """Draw x (*batch, n), the factors, and the bias if it is wanted."""
        inner = self.rank // self.blocks
        v = torch.randn(self.blocks, inner, self.n // self.blocks)
        in_blocks = (self.blocks, self.m // self.blocks, inner)
        u = torch.randn(in_blocks if self.kind.u_in_blocks else (self.m, self.rank))
        return Inputs(torch.randn(*batch, self.n), v, u, torch.randn(self.m) if bias else None)

    def __str__(self) -> str:
        name = "shuffle" if self.kind.u_in_blocks else "dense"
        return f"{name}-{self.n}-{self.m}-{self.rank}-{self.blocks}"


def dense_case(n: int, m: int, rank: int, blocks: int) -> Case:
    return Case(BLOCK_DENSE, n, m, rank, blocks)


def shuffle_case(n: int, m: int, blocks: int) -> Case:
    return Case(BLOCK_SHUFFLE, n, m, min(n, m), blocks)


# Dense matrices, each factor filled in by its definition


def matrix_of_block_dense(v: Tensor, u: Tensor) -> Tensor:
    return u @ block_diagonal(v)


def matrix_of_block_shuffle(v: Tensor, u: Tensor) -> Tensor:
    blocks, m_block, k_block = u.shape
    # y[s B + l] takes U[l, s, r] of h[r B + l].
    places = [
        (s * blocks + block, r * blocks + block)
        for block, s, r in itertools.product(range(blocks), range(m_block), range(k_block))
    ]
    return scatter(places, u, (m_block * blocks, k_block * blocks)) @ block_diagonal(v)


def block_diagonal(v: Tensor) -> Tensor:
    blocks, k_block, n_block = v.shape
    # h[b k/B + r] takes V[b, r, i] of x[b n/B + i].
    places = [
        (b * k_block + r, b * n_block + i)
        for b, r, i in itertools.product(range(blocks), range(k_block), range(n_block))
    ]
    return scatter(places, v, (blocks * k_block, blocks * n_block))


def scatter(places: list[tuple[int, int]], values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a (rows, columns) matrix with each value at its place; differentiable."""
    rows, columns = torch.from_numpy(np.array(places).T)
    empty = torch.zeros(shape, dtype=values.dtype)
    return empty.index_put((rows, columns), values.flatten(), accumulate=True)


BLOCK_DENSE = Kind(
    block_dense.block_dense,
    block_dense.BLOCK_DENSE,
    block_dense.reference,
    matrix_of_block_dense,
    u_in_blocks=False,
)
BLOCK_SHUFFLE = Kind(
    block_shuffle.block_shuffle,
    block_shuffle.BLOCK_SHUFFLE,
    block_shuffle.reference,
    matrix_of_block_shuffle,
    u_in_blocks=True,
)
