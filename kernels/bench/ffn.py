"""FFNs to measure, fc2(GELU(fc1(x))) with biases: by the kernels, plainly, and dense.

On random data in float32 on a CPU and bfloat16 on CUDA, with an inner width of four times the
outer one. Structured layers are sized as the platform's recipes size them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.bench import plain
from kernels.bias_activation import bias_activation
from kernels.block_dense import BlockDense
from kernels.block_shuffle import BlockShuffle
from kernels.factored import Factorization, Factors
from kernels.feed_forward import feed_forward, suits
from kernels.self_guided import self_guided
from kernels.timing import Contender

Kind = Literal["dense", "lowrank", "blockdense", "blockshuffle"]
STRUCTURED: tuple[Kind, ...] = ("lowrank", "blockdense", "blockshuffle")
Pass = Literal["forward", "forward and backward"]
Product = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

# Each round takes the next of so many inputs.
INPUT_SETS = 3
BLOCKDENSE_BLOCKS = 2
PLAIN: dict[Kind, Product] = {
    "lowrank": plain.low_rank,
    "blockdense": plain.block_dense,
    "blockshuffle": plain.block_shuffle,
}
OPERATIONS: dict[Kind, type[Factorization]] = {
    "lowrank": BlockDense,
    "blockdense": BlockDense,
    "blockshuffle": BlockShuffle,
}


class Matrix(NamedTuple):
    """The weights of a dense projection, (m, n) and (m,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Layer:
    """An FFN of `width`; `share` is about its part of the dense one's weights, 1 for dense."""

    kind: Kind
    width: int
    share: float = 1.0

    @property
    def blocks(self) -> int:
        if self.kind == "blockshuffle":
            return round(1.25 / self.share)
        return BLOCKDENSE_BLOCKS if self.kind == "blockdense" else 1

    @property
    def rank(self) -> int:
        """Of lowrank and blockdense: the nearest multiple of 32 from width 512 up, of 4 below."""
        step = 32 if self.width >= 512 else 4
        exact = self.share * 8 * self.width / (5 + 5 / self.blocks)
        return max(step, step * round(exact / step))

    @property
    def weights(self) -> int:
        """Entries of the weights, without biases; also the multiply-adds per token."""
        if self.kind == "dense":
            return 8 * self.width**2
        if self.kind == "blockshuffle":
            return 10 * self.width**2 // self.blocks
        return int(self.rank * self.width * (5 + 5 / self.blocks))

    @property
    def fraction(self) -> float:
        """The true part of the dense one's weights."""
        return self.weights / (8 * self.width**2)


class FFN:
    """The weights of a layer, and the two ways to apply them.

    A self-guided one also has a dense guide for each projection, at half their share.
    """

    def __init__(self, layer: Layer, device: torch.device, guided: bool = False) -> None:
        self.layer, self.device, d = layer, device, layer.width
        self.share = torch.tensor(0.5, device=device)
        sizes = ((d, 4 * d), (4 * d, d))
        dense = guided or layer.kind == "dense"
        self.matrices = [Matrix(self._draw(m, n), self._draw(m)) for n, m in sizes if dense]
        self.factors = [self._factors(n, m) for n, m in sizes if layer.kind != "dense"]

    def fast(self, x: Tensor) -> Tensor:
        """As a training step of the platform does it."""
        if torch.is_grad_enabled() and suits(x) and not self.matrices:
            first, second = self.factors
            return feed_forward(OPERATIONS[self.layer.kind], x, first, second, "gelu")
        fc1, fc2 = map(self._projection, (0, 1))
        return fc2(bias_activation(fc1(x), None, "gelu"))

    def plain(self, x: Tensor) -> Tensor:
        """As the paper's public code does it."""
        return self._plainly(F.gelu(self._plainly(x, 0)), 1)

    def _projection(self, index: int) -> Callable[[Tensor], Tensor]:
        if not self.factors:
            return lambda x: F.linear(x, *self.matrices[index])
        operation, factors = OPERATIONS[self.layer.kind], self.factors[index]
        if self.matrices:
            guide, bias = self.matrices[index]
            weights = factors._replace(bias=bias)
            return lambda x: self_guided(operation, x, guide, self.share, weights)
        if self.layer.kind == "lowrank":  # One layer of it is two library products.
            return lambda x: plain.low_rank(x, factors.v, factors.u, factors.bias)
        return lambda x: operation.linear(x, factors)

    def _plainly(self, x: Tensor, index: int) -> Tensor:
        if not self.factors:
            return F.linear(x, *self.matrices[index])
        product, factors = PLAIN[self.layer.kind], self.factors[index]
        if not self.matrices:
            return product(x, *factors)
        guide, bias = self.matrices[index]
        structured = product(x, factors.v, factors.u, None)
        mixed = self.share * F.linear(x, guide) + (1 - self.share) * structured
        return mixed if bias is None else mixed + bias

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
        """Normal draws that keep the scale of what they are applied to."""
        drawn = torch.randn(*shape, device=self.device) * shape[-1] ** -0.5
        return drawn.to(dtype_on(self.device)).requires_grad_()


def dtype_on(device: torch.device) -> torch.dtype:
    """The type that a device is measured in."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def inputs(width: int, tokens: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Pairs of x and the gradient of y, each (tokens, width)."""
    dtype = dtype_on(device)
    return [
        (
            torch.randn(tokens, width, device=device, dtype=dtype).requires_grad_(),
            torch.randn(tokens, width, device=device, dtype=dtype),
        )
        for _ in range(INPUT_SETS)
    ]


def timed(
    function: Callable[[Tensor], Tensor], data: list[tuple[Tensor, Tensor]], passed: Pass
) -> Contender:
    """A side of a pair: one pass of the function on the inputs of the round."""

    def forward(number: int) -> None:
        with torch.no_grad():
            function(data[number % len(data)][0])

    def both(number: int) -> None:
        x, direction = data[number % len(data)]
        x.grad = None
        function(x).backward(direction)

    return forward if passed == "forward" else both
