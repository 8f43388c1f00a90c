"""FFNs to benchmark, fc2(GELU(fc1(x))) with biases: by the kernels, plain, and dense.

They run on random data, in float32 on a CPU and in bfloat16 on CUDA. The hidden width is four times
the width. Structured layers have the sizes that the platform's recipes give them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.bench import baselines
from kernels.bias_activation import bias_activation
from kernels.block_dense import BlockDense
from kernels.block_shuffle import BlockShuffle
from kernels.factored import Factorization, Factors
from kernels.feed_forward import feed_forward, suits
from kernels.self_guided import self_guided
from kernels.timing import Contender

Kind = Literal["dense", "lowrank", "blockdense", "blockshuffle"]
STRUCTURED: tuple[Kind, ...] = ("lowrank", "blockdense", "blockshuffle")
Passes = Literal["forward", "forward and backward"]
Product = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

# Number of inputs; each round takes the next of them.
INPUT_SETS = 3
BLOCKDENSE_BLOCKS = 2
PLAIN: dict[Kind, Product] = {
    "lowrank": baselines.low_rank,
    "blockdense": baselines.block_dense,
    "blockshuffle": baselines.block_shuffle,
}
FACTORIZATIONS: dict[Kind, type[Factorization]] = {
    "lowrank": BlockDense,
    "blockdense": BlockDense,
    "blockshuffle": BlockShuffle,
}


class Matrix(NamedTuple):
    """Weights of a dense projection: weight (m, n) and bias (m,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Layer:
    """Sizes of an FFN; `requested_fraction` is the wanted fraction of the dense FFN's weights."""

    kind: Kind
    width: int
    requested_fraction: float = 1.0

    @property
    def blocks(self) -> int:
        """Number of blocks of each factor."""
        if self.kind == "blockshuffle":
            return round(1.25 / self.requested_fraction)
        return BLOCKDENSE_BLOCKS if self.kind == "blockdense" else 1

    @property
    def rank(self) -> int:
        """Rank of lowrank and blockdense: a multiple of 32 from width 512 on, of 4 below."""
        step = 32 if self.width >= 512 else 4
        exact = self.requested_fraction * 8 * self.width / (5 + 5 / self.blocks)
        return max(step, step * round(exact / step))

    @property
    def weights(self) -> int:
        """Number of weights without biases, which is also the number of MACs per token."""
        if self.kind == "dense":
            return 8 * self.width**2
        if self.kind == "blockshuffle":
            return 10 * self.width**2 // self.blocks
        return int(self.rank * self.width * (5 + 5 / self.blocks))

    @property
    def fraction(self) -> float:
        """Fraction of the dense FFN's weights that the sizes come to."""
        return self.weights / (8 * self.width**2)


class FFN:
    """The weights of one FFN, with two ways to apply them.

    A self-guided FFN also has a dense guide for each projection. The guides' share is one half.
    """

    def __init__(self, layer: Layer, device: torch.device, guided: bool = False) -> None:
        self.layer, self.device, d = layer, device, layer.width
        self.guide_share = torch.tensor(0.5, device=device)
        sizes = ((d, 4 * d), (4 * d, d))
        dense = guided or layer.kind == "dense"
        self.matrices = [Matrix(self._draw(m, n), self._draw(m)) for n, m in sizes if dense]
        self.factors = [self._factors(n, m) for n, m in sizes if layer.kind != "dense"]

    def fast(self, x: Tensor) -> Tensor:
        """Apply the FFN by the kernels, as a training step of the platform does."""
        wide = 4 * self.layer.width
        if torch.is_grad_enabled() and suits(x, wide) and not self.matrices:
            fc1, fc2 = self.factors
            return feed_forward(FACTORIZATIONS[self.layer.kind], x, fc1, fc2, "gelu")
        h = bias_activation(self._project(x, 0), None, "gelu")
        return self._project(h, 1)

    def plain(self, x: Tensor) -> Tensor:
        """Apply the FFN by the plain formulation of the paper's public code."""
        return self._project_plain(F.gelu(self._project_plain(x, 0)), 1)

    def _project(self, x: Tensor, index: int) -> Tensor:
        """Apply fc1 (index 0) or fc2 (index 1) by the kernels."""
        if not self.factors:
            return F.linear(x, *self.matrices[index])
        factorization, factors = FACTORIZATIONS[self.layer.kind], self.factors[index]
        if self.matrices:
            guide, bias = self.matrices[index]
            weights = factors._replace(bias=bias)
            return self_guided(factorization, x, guide, self.guide_share, weights)
        if self.layer.kind == "lowrank":  # The fast path of one layer is two library products.
            return baselines.low_rank(x, factors.v, factors.u, factors.bias)
        return factorization.linear(x, factors)

    def _project_plain(self, x: Tensor, index: int) -> Tensor:
        """Apply fc1 (index 0) or fc2 (index 1) by its plain formulation."""
        if not self.factors:
            return F.linear(x, *self.matrices[index])
        product, factors = PLAIN[self.layer.kind], self.factors[index]
        if not self.matrices:
            return product(x, factors.v, factors.u, factors.bias)
        guide, bias = self.matrices[index]
        structured = product(x, factors.v, factors.u, None)
        return self.guide_share * F.linear(x, guide) + (1 - self.guide_share) * structured + bias

    def _factors(self, n: int, m: int) -> Factors:
        blocks = self.layer.blocks
        if self.layer.kind == "blockshuffle":
            inner = min(n, m) // blocks
            v, u = self._draw(blocks, inner, n // blocks), self._draw(blocks, m // blocks, inner)
        else:
            rank = self.layer.rank
            v, u = self._draw(blocks, rank // blocks, n // blocks), self._draw(m, rank)
        return Factors(v, u, self._draw(m))

    def _draw(self, *shape: int) -> Tensor:
        """Draw normal weights that preserve the scale of their input."""
        drawn = torch.randn(*shape, device=self.device) * shape[-1] ** -0.5
        return drawn.to(dtype_on(self.device)).requires_grad_()


def dtype_on(device: torch.device) -> torch.dtype:
    """Return the dtype of the device's benchmarks."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def inputs(shape: tuple[int, ...], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Draw pairs of x and of the gradient by y, which has the same shape."""
    dtype = dtype_on(device)
    return [
        (
            torch.randn(shape, device=device, dtype=dtype).requires_grad_(),
            torch.randn(shape, device=device, dtype=dtype),
        )
        for _ in range(INPUT_SETS)
    ]


def passing(
    function: Callable[[Tensor], Tensor], data: list[tuple[Tensor, Tensor]], passes: Passes
) -> Contender:
    """Make a contender that runs the function, forward or also backward, on the round's inputs."""

    def forward(number: int) -> None:
        with torch.no_grad():
            function(data[number % len(data)][0])

    def forward_and_backward(number: int) -> None:
        x, d_y = data[number % len(data)]
        x.grad = None
        function(x).backward(d_y)

    return forward if passes == "forward" else forward_and_backward
