"""Rotary position embedding: each feature pair (i, i + head_dim/2) turned by its position's angle.

Su et al. 2021 (arXiv 2104.09864). On a CPU one turn is three passes, two of them over whole rows,
and the gradient is the turn back, from the angles alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.switches import fast


def rotary(x: Tensor, rotation: Tensor) -> Tensor:
    """x (..., head_dim) turned; `rotation`, broadcastable to (2, ..., head_dim), has cosines and
    sines, each angle twice, and no gradient.

    In the precision of `rotation`, fp32: angles of distant positions are lost in bf16.
    """
    if (
        x.device.type == "cpu"
        and x.dtype == rotation.dtype
        and not torch.compiler.is_compiling()
        and fast("rotary")
    ):
        return _Rotary.apply(x, rotation)
    return definition(x, rotation)


def definition(x: Tensor, rotation: Tensor) -> Tensor:
    """The same function as it is written down."""
    cosine, sine = rotation
    precise = x.to(rotation.dtype)
    first, second = precise.chunk(2, dim=-1)
    return (precise * cosine + torch.cat([-second, first], dim=-1) * sine).to(x.dtype)


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rotation: Tensor) -> Tensor:
        ctx.save_for_backward(rotation)
        return _turned(x, rotation, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _turned(grads[0], ctx.saved_tensors[0], -1), None


def _turned(x: Tensor, rotation: Tensor, sense: int) -> Tensor:
    """x turned by the angles, or with `sense` -1 back."""
    cosine, sine = rotation
    half = x.shape[-1] // 2
    signed = torch.cat([-sense * sine[..., :half], sense * sine[..., half:]], dim=-1)
    return x.roll(half, -1).mul_(signed).addcmul_(x, cosine)
