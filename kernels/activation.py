"""The FFN's activation functions and their gradients, written into memory that the caller owns.

The argument `activation` is `gelu`, `gelu_tanh` or `swiglu`; any other value raises KeyError.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_APPROXIMATE: dict[str, str] = {"gelu": "none", "gelu_tanh": "tanh"}


def activate(z: Tensor, activation: str) -> Tensor:
    """Return the activation of z (..., m).

    `gelu` is the exact GELU and `gelu_tanh` its tanh approximation, both (..., m) (Hendrycks and
    Gimpel 2016, arXiv 1606.08415). `swiglu` is silu(first half of z) * second half, (..., m/2)
    (Shazeer 2020, arXiv 2002.05202).
    """
    if activation == "swiglu":
        gate, value = z.chunk(2, dim=-1)
        return F.silu(gate) * value
    return F.gelu(z, approximate=_APPROXIMATE[activation])


def activate_into(h: Tensor, z: Tensor, activation: str) -> None:
    """Fill h with `activate(z)`. Autograd does not record this."""
    if activation == "swiglu":
        gate, value = z.chunk(2, dim=-1)
        torch.mul(F.silu(gate), value, out=h)
    else:
        torch.ops.aten.gelu.out(z, approximate=_APPROXIMATE[activation], out=h)


def gradient_into(d_z: Tensor, d_h: Tensor, z: Tensor, activation: str) -> None:
    """Fill d_z with the gradient by z, given the gradient d_h by `activate(z)`.

    d_z may be the same tensor as d_h if the activation keeps the width.
    """
    if activation != "swiglu":
        torch.ops.aten.gelu_backward.grad_input(
            d_h, z, approximate=_APPROXIMATE[activation], grad_input=d_z
        )
        return
    (gate, value), (d_gate, d_value) = z.chunk(2, dim=-1), d_z.chunk(2, dim=-1)
    torch.mul(d_h, F.silu(gate), out=d_value)
    torch.ops.aten.silu_backward.grad_input(d_h * value, gate, grad_input=d_gate)
