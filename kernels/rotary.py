"""Rotary position embedding: each feature pair (i, i + head_dim/2) rotated by an angle.

Su et al. 2021 (arXiv 2104.09864). The angle grows with the token's position. On a CPU a rotation
takes three passes over memory, two of them over whole rows. Its gradient is the inverse rotation,
which needs only the angles.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.switches import fast


def rotary(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the queries or keys x (..., head_dim).

    It is computed in the dtype of `rotation`, usually fp32, because bf16 cannot hold the angles of
    distant positions.

    Args:
        x: (..., head_dim).
        rotation: broadcastable to (2, ..., head_dim): the cosines and the sines of the
            head_dim/2 angles, each twice. It gets no gradient.
    """
    if (
        x.device.type == "cpu"
        and x.dtype == rotation.dtype
        and not torch.compiler.is_compiling()
        and fast("rotary")
    ):
        return _Rotary.apply(x, rotation)
    return reference(x, rotation)


def reference(x: Tensor, rotation: Tensor) -> Tensor:
    """Compute `rotary` in plain torch."""
    cosine, sine = rotation
    precise = x.to(rotation.dtype)
    first, second = precise.chunk(2, dim=-1)
    return (precise * cosine + torch.cat([-second, first], dim=-1) * sine).to(x.dtype)


class _Rotary(torch.autograd.Function):
    """Autograd function of `rotary`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rotation: Tensor) -> Tensor:
        ctx.save_for_backward(rotation)
        return _rotate(x, rotation, sign=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _rotate(grads[0], ctx.saved_tensors[0], sign=-1), None


def _rotate(x: Tensor, rotation: Tensor, sign: int) -> Tensor:
    """Rotate x by the angles if `sign` is 1, and by the negative angles if it is -1."""
    cosine, sine = rotation
    half = x.shape[-1] // 2
    signed_sine = torch.cat([-sign * sine[..., :half], sign * sine[..., half:]], dim=-1)
    return x.roll(half, -1).mul_(signed_sine).addcmul_(x, cosine)
