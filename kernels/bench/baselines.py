"""Plain formulations of the structured layers and of the loss: the baselines of the kernels.

The layers are written as in the paper's public code (Wei et al. 2024, arXiv 2406.16450): reshape,
transpose, batched product, copy. Each takes x (..., n) to (..., m), with the weights and the bias
of the kernel of the same name.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def low_rank(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Apply two linear layers; v is (1, rank, n)."""
    return F.linear(F.linear(x, v[0]), u, bias)


def block_dense(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Move the blocks to the front, multiply them in a batch, copy them back, apply u."""
    num_blocks, inner_block, n_block = v.shape
    sliced = x.reshape(-1, num_blocks, n_block).transpose(0, 1)
    inner = torch.bmm(sliced, v.mT).transpose(0, 1).reshape(-1, num_blocks * inner_block)
    return F.linear(inner, u, bias).reshape(*x.shape[:-1], len(u))


def block_shuffle(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply blocks in a batch as `block_dense` does, twice, with both shuffles as copies."""
    num_blocks, k_block, n_block = v.shape
    sliced = x.reshape(-1, num_blocks, n_block).transpose(0, 1)
    inner = torch.bmm(sliced, v.mT).transpose(0, 1).reshape(-1, k_block, num_blocks)
    shuffled = inner.transpose(1, 2).contiguous().transpose(0, 1)
    y = torch.bmm(shuffled, u.mT).permute(1, 2, 0).reshape(*x.shape[:-1], -1)
    return y if bias is None else y + bias


def cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss in nats of x (tokens, n), with all logits of weight (vocabulary, n)."""
    return F.cross_entropy(F.linear(x, weight).float(), targets)
