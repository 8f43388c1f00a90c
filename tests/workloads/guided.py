"""Guided projections taken apart: their dense matrices, and where they are in a model."""

import torch
from torch import Tensor, nn

from workloads.nn.projections.base import Projection


def matrix(projection: Projection, permuted: bool = True) -> Tensor:
    """The projection's (m, n) matrix, entry by entry from its factors."""
    parts = {name: p.detach() for name, p in projection.named_parameters()}
    u, v = parts["u"], parts["v"]
    if v.ndim == 2:
        return u @ v
    blocks, rows, columns = v.shape
    inner = torch.zeros(blocks * rows, blocks * columns, dtype=v.dtype)
    for b in range(blocks):
        inner[b * rows : (b + 1) * rows, b * columns : (b + 1) * columns] = v[b]
    if u.ndim == 2:
        return u @ inner
    _, places, numbers = u.shape
    outer = torch.zeros(blocks * places, blocks * numbers, dtype=u.dtype)
    for b in range(blocks):
        for s in range(places):
            for r in range(numbers):
                if permuted:
                    outer[s * blocks + b, r * blocks + b] = u[b, s, r]
                else:
                    outer[b * places + s, b * numbers + r] = u[b, s, r]
    return outer @ inner


def projections(model: nn.Module) -> list[Projection]:
    return [module for module in model.modules() if isinstance(module, Projection)]
