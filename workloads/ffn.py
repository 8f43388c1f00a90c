"""The feedforward layer and the parametrizations of its two projections.

Definitions: Wei et al. 2024 (arXiv 2406.16450), section 3. Each projection maps (..., n) to
(..., m); a new one is a class here and a row of the table in `parametrizations.py`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workloads.config import FFNConfig, ModelConfig

INIT_STD = 0.02


class Projection(nn.Module):
    """A linear map from n to m features; a kind defines its weights, `product` and `dense_weight`.

    While self-guided training lasts it also carries a dense `guide` W and gives
    a W x + (1 - a) product(x) + b (arXiv 2406.16450, section 4), where `guide_share` is a; a
    training step may leave the guide out (`guide_runs`). After `premerge`, few tokens go through
    one dense weight instead.
    """

    kinds: ClassVar[dict[str, type[Projection]]] = {}
    bias: nn.Parameter | None
    guide: nn.Parameter | None
    guide_share: Tensor
    merged: Tensor | None

    def __init_subclass__(cls, kind: str) -> None:
        super().__init_subclass__()
        Projection.kinds[kind] = cls

    def __init__(self, n: int, m: int, ffn: FFNConfig, bias: bool = True) -> None:
        super().__init__()
        self.register_parameter("bias", nn.Parameter(torch.zeros(m)) if bias else None)
        self.register_parameter("guide", None)
        self.register_buffer("guide_share", torch.ones(()), persistent=False)
        self.register_buffer("merged", None, persistent=False)
        self.guide_runs = True
        self.crossover_tokens = 0
        self.create_weights(n, m, ffn)

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        """Create and initialize the kind's own parameters."""
        raise NotImplementedError

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(..., n) to (..., m): the structured weights applied to x, and the bias added."""
        raise NotImplementedError

    def dense_weight(self) -> Tensor:
        """The (m, n) matrix that the structured weights multiply out to."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        few = x.numel() <= self.crossover_tokens * x.shape[-1]
        if self.merged is not None and few and not self.training:
            return F.linear(x, self.merged, self.bias)
        if self.guide is None or (self.training and not self.guide_runs):
            return self.product(x, self.bias)
        share = self.guide_share
        mixed = share * F.linear(x, self.guide) + (1 - share) * self.product(x, None)
        return mixed if self.bias is None else mixed + self.bias

    @torch.no_grad()
    def add_guide(self, init: Literal["effective", "reference"]) -> None:
        """Start self-guided training: the guide is the product of the weights as they are."""
        weight = self.dense_weight() if init == "effective" else self.reference_guide()
        self.guide = nn.Parameter(weight.detach().clone().contiguous())

    def reference_guide(self) -> Tensor:
        """(m, n): what the public implementation starts the guide as."""
        return self.dense_weight()

    @torch.no_grad()
    def premerge(self, crossover_tokens: int) -> None:
        """Keep the dense weight beside the structured ones, for up to that many tokens."""
        self.merged = self.dense_weight().detach().clone().contiguous()
        self.crossover_tokens = crossover_tokens


class DenseProjection(Projection, kind="dense"):
    """y = W x + b."""

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        self.weight = nn.Parameter(_normal(m, n))

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, self.weight, bias)

    def dense_weight(self) -> Tensor:
        return self.weight

    def premerge(self, crossover_tokens: int) -> None:
        """Nothing to merge."""


class LowRankProjection(Projection, kind="lowrank"):
    """y = U (V x) + b with V (rank, n) and U (m, rank), spectrally initialized."""

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        assert ffn.rank is not None
        # The top of a fresh dense weight's spectrum, split evenly between the factors
        # (spectral initialization: Khodak et al. 2021, arXiv 2105.01029).
        left, values, right = torch.linalg.svd(_normal(m, n), full_matrices=False)
        root = values[: ffn.rank].sqrt()
        # Contiguous, because the SVD's factors are column-major, and a product keeps its layout.
        self.v = nn.Parameter((root[:, None] * right[: ffn.rank]).contiguous())
        self.u = nn.Parameter((left[:, : ffn.rank] * root).contiguous())

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(F.linear(x, self.v), self.u, bias)

    def dense_weight(self) -> Tensor:
        return self.u @ self.v


class BlockDenseProjection(Projection, kind="blockdense"):
    """y = U (blockdiag(V) x) + b with V (B, rank/B, n/B) and U (m, rank)."""

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        assert ffn.rank is not None and ffn.nblocks is not None
        blocks = ffn.nblocks
        self.v = nn.Parameter(_orthonormal(blocks, ffn.rank // blocks, n // blocks))
        self.u = nn.Parameter(_orthonormal(m, ffn.rank))

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        inner = torch.einsum("bri,...bi->...br", self.v, x.unflatten(-1, (self.v.shape[0], -1)))
        return F.linear(inner.flatten(-2), self.u, bias)

    def dense_weight(self) -> Tensor:
        return self.u @ torch.block_diag(*self.v)


class BlockShuffleProjection(Projection, kind="blockshuffle"):
    """y = P^-1 blockdiag(U) P blockdiag(V) x + b: the Monarch form, bottleneck k = min(n, m).

    V is (B, k/B, n/B) and U is (B, m/B, k/B). P reads the k inner features as a (k/B, B) matrix
    and gives column l to block l; P^-1 puts entry s of block l at position s B + l.
    """

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        assert ffn.nblocks is not None
        blocks, inner = ffn.nblocks, min(n, m)
        self.v = nn.Parameter(_orthonormal(blocks, inner // blocks, n // blocks))
        self.u = nn.Parameter(_orthonormal(blocks, m // blocks, inner // blocks))

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        blocks = self.v.shape[0]
        inner = torch.einsum("bri,...bi->...br", self.v, x.unflatten(-1, (blocks, -1)))
        shuffled = inner.flatten(-2).unflatten(-1, (-1, blocks))
        y = torch.einsum("lsr,...rl->...sl", self.u, shuffled).flatten(-2)
        return y if bias is None else y + bias

    def dense_weight(self) -> Tensor:
        blocks, _, k_block = self.u.shape
        v = torch.block_diag(*self.v).unflatten(0, (k_block, blocks))
        return torch.einsum("lsr,rln->sln", self.u, v).flatten(0, 1)

    def reference_guide(self) -> Tensor:
        return torch.block_diag(*self.u) @ torch.block_diag(*self.v)


class FeedForward(nn.Module):
    """fc2(activation(fc1(x))) with both projections of one kind; (..., hidden_dim) to the same."""

    def __init__(self, model: ModelConfig, ffn: FFNConfig) -> None:
        super().__init__()
        projection = Projection.kinds[ffn.kind]
        (n1, m1), (n2, m2) = model.ffn_shapes
        self.gated = model.activation == "swiglu"
        self.fc1 = projection(n1, m1, ffn, model.bias)
        self.fc2 = projection(n2, m2, ffn, model.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self._activate(self.fc1(x)))

    def _activate(self, x: Tensor) -> Tensor:
        if not self.gated:
            return F.gelu(x)
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


def _normal(*shape: int) -> Tensor:
    return torch.empty(*shape).normal_(std=INIT_STD)


def _orthonormal(*shape: int) -> Tensor:
    """The polar factor of a normal draw, block by block: orthonormal rows or columns."""
    left, _, right = torch.linalg.svd(_normal(*shape), full_matrices=False)
    return (left @ right).contiguous()
