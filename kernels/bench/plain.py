"""Structured layers as the paper's public code has them (arXiv 2406.16450), written down plainly.

Reshape, transpose, batched product, copy. What the kernels are measured against: each takes
x (..., n) to (..., m) with the weights and biases of the kernel of its name.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def low_rank(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Two linear layers; v is (1, rank, n)."""
    return F.linear(F.linear(x, v[0]), u, bias)


def block_dense(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Blocks to the front, a batched product, a copy back, and a linear layer."""
    blocks, inner_block, n_block = v.shape
    sliced = x.reshape(-1, blocks, n_block).transpose(0, 1)
    inner = torch.bmm(sliced, v.mT).transpose(0, 1).reshape(-1, blocks * inner_block)
    return F.linear(inner, u, bias).reshape(*x.shape[:-1], len(u))


def block_shuffle(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """As `block_dense`, twice, with the two shuffles as copies."""
    blocks, k_block, n_block = v.shape
    sliced = x.reshape(-1, blocks, n_block).transpose(0, 1)
    inner = torch.bmm(sliced, v.mT).transpose(0, 1).reshape(-1, k_block, blocks)
    dealt = inner.transpose(1, 2).contiguous().transpose(0, 1)
    y = torch.bmm(dealt, u.mT).permute(1, 2, 0).reshape(*x.shape[:-1], -1)
    return y if bias is None else y + bias


def cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The mean loss in nats of x (tokens, n) by the head's weight (vocabulary, n): all logits."""
    return F.cross_entropy(F.linear(x, weight).float(), targets)
