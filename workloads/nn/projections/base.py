"""A projection: what every FFN kind's linear map has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.factored import Factorization, Factors
from kernels.self_guided import merge, self_guided
from workloads.config.ffn_kinds import INIT_STD
from workloads.config.model import FFNConfig


class Projection(nn.Module):
    """A map from n to m features.

    A kind creates its weights, and gives them as the `factors` of an `operation` of the kernels.
    A kind without an operation defines `product`, and `dense_weight` where it is mergeable.

    While self-guided training lasts a projection also has a dense `guide` W and gives
    a W x + (1 - a) S x + b, where S are the kind's own weights and `guide_weight` is a (arXiv
    2406.16450, section 4). A training step may leave the guide out (`guide_runs`), and its passes
    may share one merge of the guide and the weights (`shared_merge`). After `premerge`, inference
    multiplies few tokens by one dense weight instead, until the weights change.
    """

    operation: ClassVar[type[Factorization] | None] = None
    # Each weight's name in the paper's public implementation, and its axes there: n inputs, m
    # outputs, k inner features, or the letter of a size. Empty where it has no such kind.
    reference_weights: ClassVar[Mapping[str, tuple[str, str]]] = {}
    bias: nn.Parameter | None
    guide: nn.Parameter | None
    guide_weight: Tensor
    merged: Tensor | None

    def __init__(self, n: int, m: int, ffn: FFNConfig, bias: bool = True) -> None:
        super().__init__()
        self.mergeable = ffn.row.mergeable
        self.register_parameter("bias", nn.Parameter(torch.zeros(m)) if bias else None)
        self.register_parameter("guide", None)
        self.register_buffer("guide_weight", torch.ones(()), persistent=False)
        self.register_buffer("merged", None, persistent=False)
        self.guide_runs = True
        self.shared_merge: Tensor | None = None
        self.crossover_tokens = 0
        # Each source of `merged`: the mapping that holds it, its name, the tensor, its version.
        self.merged_from: list[tuple[Mapping[str, Tensor | None], str, Tensor | None, int]] = []
        self.create_weights(n, m, ffn.sizes)

    def create_weights(self, n: int, m: int, sizes: Mapping[str, int]) -> None:
        """Create and initialize the kind's own parameters, given its sizes by name."""
        raise NotImplementedError

    def factors(self) -> Factors:
        """Return the kind's own weights as `operation` takes them."""
        raise NotImplementedError

    def product(self, x: Tensor) -> Tensor:
        """Apply the kind's own weights and the bias: (..., n) to (..., m)."""
        assert self.operation is not None
        return self.operation.linear(x, self.factors())

    def dense_weight(self) -> Tensor:
        """Multiply the kind's own weights out to one matrix (m, n); differentiable."""
        assert self.operation is not None
        return self.operation.dense(*self.factors()[:2])

    @staticmethod
    def matrices(weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the kind's own weights, by name, as matrices (outputs, inputs) in the order in
        which they are applied; they hold zeros where the kind has no weight. Differentiable.

        A kind that does not define this and `weights_of` does not grow.
        """
        raise NotImplementedError

    @staticmethod
    def weights_of(
        matrices: Sequence[Tensor], shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        """Return the weights of these shapes that hold what the kind can hold of `matrices`."""
        raise NotImplementedError

    @property
    def guided(self) -> bool:
        """True when the next pass mixes the guide in."""
        return self.guide is not None and (self.guide_runs or not self.training)

    @property
    def plain(self) -> bool:
        """True when the next training pass is `product`, without a guide, a merged weight or a
        hook on its input."""
        return not (self.crossover_tokens or self.guided or self._forward_pre_hooks)

    def merge(self) -> Tensor:
        """Mix the guide with the kind's own weights as one matrix (m, n); differentiable."""
        assert self.guide is not None
        if self.operation is None:
            return self.guide_weight * self.guide + (1 - self.guide_weight) * self.dense_weight()
        return merge(self.operation, self.guide, self.guide_weight, self.factors())

    def forward(self, x: Tensor) -> Tensor:
        if self.crossover_tokens and self._merge_serves(x):
            assert self.merged is not None
            return F.linear(x, self.merged, self.bias)
        if self.guide is None or not self.guided:
            return self.product(x)
        if self.shared_merge is not None:
            return F.linear(x, self.shared_merge, self.bias)
        if self.operation is None:
            return F.linear(x, self.merge(), self.bias)
        return self_guided(self.operation, x, self.guide, self.guide_weight, self.factors())

    @torch.no_grad()
    def add_guide(self, init: Literal["effective", "reference"]) -> None:
        """Start self-guided training with a guide that equals the weights as they are now.

        `init: reference` starts it as the public implementation does.
        """
        weight = self.dense_weight() if init == "effective" else self.reference_guide()
        self.guide = nn.Parameter(weight.detach().clone().contiguous())

    def reference_guide(self) -> Tensor:
        """Return the matrix (m, n) that the public implementation starts the guide as."""
        return self.dense_weight()

    @torch.no_grad()
    def premerge(self, crossover_tokens: int) -> None:
        """Keep one dense weight for inputs of up to `crossover_tokens` tokens; 0 drops it.

        A projection that is not mergeable keeps none. The dense weight is not part of the state
        dict, nor of copies. It lasts until a pass in training mode or with gradients, or until the
        weights are written to or moved; a write to a parameter's `.data` is not noticed.
        """
        tokens = crossover_tokens if self.mergeable else 0
        self.merged, self.merged_from, self.crossover_tokens = None, [], tokens
        if not tokens:
            return
        with torch.autocast(self.guide_weight.device.type, enabled=False):
            weight = self.dense_weight() if self.guide is None else self.merge()
        self.merged = weight.detach().clone().contiguous()
        sources = [(self._parameters, name) for name in self._parameters if name != "bias"]
        for where, name in [*sources, (self._buffers, "guide_weight")]:
            tensor = where[name]
            version = 0 if tensor is None else tensor._version
            self.merged_from.append((where, name, tensor, version))

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles are without merged weights, because their versions count anew.
        buffers = self._buffers | {"merged": None}
        without = {"crossover_tokens": 0, "merged_from": [], "shared_merge": None}
        return self.__dict__ | {"_buffers": buffers} | without

    def _merge_serves(self, x: Tensor) -> bool:
        """Return whether x may take the merged weight; drop a weight that may be out of date."""
        # Every write in place counts a tensor's version up, except that of a fused optimizer.
        trains = self.training or torch.is_grad_enabled()
        if trains or any(
            where[name] is not tensor or (tensor is not None and tensor._version != version)
            for where, name, tensor, version in self.merged_from
        ):
            self.premerge(0)
            return False
        return x.numel() <= self.crossover_tokens * x.shape[-1]


def normal(*shape: int) -> Tensor:
    """Draw normal values with the standard deviation that every weight starts with."""
    return torch.empty(*shape).normal_(std=INIT_STD)


def orthonormal(*shape: int) -> Tensor:
    """Draw a matrix with orthonormal rows or columns, block by block: a normal draw's polar
    factor."""
    left, _, right = torch.linalg.svd(normal(*shape), full_matrices=False)
    return (left @ right).contiguous()


def block_diagonal(blocks: Tensor) -> Tensor:
    """Return the matrix (B r, B c) with these blocks (B, r, c) on its diagonal."""
    return torch.diag_embed(blocks.permute(1, 2, 0)).permute(2, 0, 3, 1).flatten(2).flatten(0, 1)


def diagonal_blocks(matrix: Tensor, count: int) -> Tensor:
    """Return the blocks (count, r, c) on the diagonal of a matrix (count r, count c)."""
    rows = matrix.unflatten(1, (count, -1)).unflatten(0, (count, -1))
    return rows.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
