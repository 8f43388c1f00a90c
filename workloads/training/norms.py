"""Gradient norms as numbers, of whole models and of each layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from workloads.nn.transformer import Transformer
from workloads.run_dir.metrics_log import Row


@torch.no_grad()
def layer_grad_norms(model: Transformer) -> Row:
    """Return the gradient norm of each layer before clipping, which shows the origin of a spike."""
    return {
        f"layer_grad_norm/{index:02d}": number(
            nn.utils.get_total_norm([p.grad for p in layer.parameters() if p.grad is not None])
        )
        for index, layer in enumerate(model.layers)
    }


def number(norm: Tensor) -> float:
    """Return a norm as a float; under sharding that of all shards."""
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
