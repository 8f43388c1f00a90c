"""The FFN's activations, and what they pass back, into memory that the caller keeps.

`activation` is `gelu`, `gelu_tanh` or `swiglu`; others are a KeyError.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_APPROXIMATE: dict[str, str] = {"gelu": "none", "gelu_tanh": "tanh"}


def activate(z: Tensor, activation: str) -> Tensor:
    """GELU of z, exactly or by tanh; or SwiGLU, silu(first half of z) * second half."""
    if activation == "swiglu":
        gate, value = z.chunk(2, dim=-1)
        return F.silu(gate) * value
    return F.gelu(z, approximate=_APPROXIMATE[activation])


def activate_into(h: Tensor, z: Tensor, activation: str) -> None:
    """Fill h with `activate(z)`; outside autograd."""
    if activation == "swiglu":
        gate, value = z.chunk(2, dim=-1)
        torch.mul(F.silu(gate), value, out=h)
    else:
        torch.ops.aten.gelu.out(z, approximate=_APPROXIMATE[activation], out=h)


def gradient_into(d_z: Tensor, d_h: Tensor, z: Tensor, activation: str) -> None:
    """Fill d_z, which may be d_h where their widths agree, with the gradient of z."""
    if activation != "swiglu":
        torch.ops.aten.gelu_backward.grad_input(
            d_h, z, approximate=_APPROXIMATE[activation], grad_input=d_z
        )
        return
    (gate, value), (d_gate, d_value) = z.chunk(2, dim=-1), d_z.chunk(2, dim=-1)
    torch.mul(d_h, F.silu(gate), out=d_value)
    torch.ops.aten.silu_backward.grad_input(d_h * value, gate, grad_input=d_gate)
