"""A projection: what every FFN kind's linear map has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.factored import Factorization as Operation
from kernels.factored import Factors
from kernels.self_guided import merge, self_guided
from workloads.config.model import FFNConfig

INIT_STD = 0.02


class Projection(nn.Module):
    """A linear map from n to m features; a kind defines its weights and `product`.

    While self-guided training lasts it also carries a dense `guide` W and gives
    a W x + (1 - a) product(x) + b (arXiv 2406.16450, section 4), where `guide_share` is a; a
    training step may leave the guide out (`guide_runs`), and its passes may share one merge of
    the guide and the weights (`shared_merge`). After `premerge`, inference takes few tokens
    through one dense weight instead, as long as the weights stay as they were.
    """

    operation: ClassVar[type[Operation]]  # That of `factors`.
    bias: nn.Parameter | None
    guide: nn.Parameter | None
    guide_share: Tensor
    merged: Tensor | None

    def __init__(self, n: int, m: int, ffn: FFNConfig, bias: bool = True) -> None:
        super().__init__()
        self.register_parameter("bias", nn.Parameter(torch.zeros(m)) if bias else None)
        self.register_parameter("guide", None)
        self.register_buffer("guide_share", torch.ones(()), persistent=False)
        self.register_buffer("merged", None, persistent=False)
        self.guide_runs = True
        self.shared_merge: Tensor | None = None
        self.crossover_tokens = 0
        # What `merged` was made of: where it is, its name, itself, and its version then.
        self.merged_from: list[tuple[Mapping[str, Tensor | None], str, Tensor | None, int]] = []
        self.create_weights(n, m, ffn)

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        """Create and initialize the kind's own parameters."""
        raise NotImplementedError

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(..., n) to (..., m): the structured weights applied to x, and the bias added."""
        raise NotImplementedError

    def factors(self) -> Factors:
        """The structured weights as `operation` takes them."""
        raise NotImplementedError

    def dense_weight(self) -> Tensor:
        """The (m, n) matrix that the structured weights multiply out to."""
        return self.operation.dense(*self.factors()[:2])

    @property
    def guided(self) -> bool:
        """Whether the next pass mixes the guide in."""
        return self.guide is not None and (self.guide_runs or not self.training)

    def merge(self) -> Tensor:
        """The (m, n) matrix of a pass that mixes the guide in; differentiable."""
        assert self.guide is not None
        return merge(self.operation, self.guide, self.guide_share, self.factors())

    @property
    def trains_alone(self) -> bool:
        """Whether a training pass is `operation` alone, without a guide or a merged weight."""
        return not (self.crossover_tokens or self.guided)

    def forward(self, x: Tensor) -> Tensor:
        if self.crossover_tokens and self._merge_serves(x):
            assert self.merged is not None
            return F.linear(x, self.merged, self.bias)
        if self.guide is None or not self.guided:
            return self.product(x, self.bias)
        if self.shared_merge is not None:
            return F.linear(x, self.shared_merge, self.bias)
        return self_guided(self.operation, x, self.guide, self.guide_share, self.factors())

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
        """Keep the dense weight beside the structured ones, for up to that many tokens; 0 ends it.

        It is not part of the state dict, nor of copies. It lasts until a pass in training mode or
        with gradients, or until the weights are written to or moved; writes to a parameter's
        `.data` go unseen.
        """
        self.merged, self.merged_from, self.crossover_tokens = None, [], crossover_tokens
        if not crossover_tokens:
            return
        with torch.autocast(self.guide_share.device.type, enabled=False):
            weight = self.dense_weight() if self.guide is None else self.merge()
        self.merged = weight.detach().clone().contiguous()
        sources = [(self._parameters, name) for name in self._parameters if name != "bias"]
        for where, name in [*sources, (self._buffers, "guide_share")]:
            tensor = where[name]
            version = 0 if tensor is None else tensor._version
            self.merged_from.append((where, name, tensor, version))

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles are without merged weights, because their versions count anew.
        buffers = self._buffers | {"merged": None}
        without = {"crossover_tokens": 0, "merged_from": [], "shared_merge": None}
        return self.__dict__ | {"_buffers": buffers} | without

    def _merge_serves(self, x: Tensor) -> bool:
        """Whether x has few enough tokens for the merged weight; one that may be old is dropped."""
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
    return torch.empty(*shape).normal_(std=INIT_STD)


def orthonormal(*shape: int) -> Tensor:
    """The polar factor of a normal draw, block by block: orthonormal rows or columns."""
    left, _, right = torch.linalg.svd(normal(*shape), full_matrices=False)
    return (left @ right).contiguous()
