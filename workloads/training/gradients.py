"""Gradients of a step: their norms, and as whole tensors where they are in shards."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from workloads.nn.transformer import Transformer
from workloads.run_dir.metrics_log import Row


def clip(trained: nn.Module, most: float) -> float:
    """Scale the gradients to a norm of at most `most`; return their norm before."""
    return float(whole(nn.utils.clip_grad_norm_(trained.parameters(), most)))


@torch.no_grad()
def layer_norms(model: Transformer) -> Row:
    """Return the gradient norm of each layer before clipping, which shows the origin of a spike."""
    return {
        f"layer_grad_norm/{index:02d}": float(
            whole(
                nn.utils.get_total_norm([p.grad for p in layer.parameters() if p.grad is not None])
            )
        )
        for index, layer in enumerate(model.layers)
    }


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor, or that of all its shards."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
