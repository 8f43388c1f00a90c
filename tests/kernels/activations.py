"""The activations and their gradients in float64, from their formulas."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ACTIVATIONS = ["swiglu", "gelu", "gelu_tanh"]


def formula(
    z: Tensor, bias: Tensor | None, activation: str, d_h: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return activation(z + bias) and the gradients by z and by the bias, None without a bias."""
    a = z.detach().cpu().double()
    if bias is not None:
        a = a + bias.detach().cpu().double()
    d_h = d_h.detach().cpu().double()
    if activation == "swiglu":
        gate, value = a.chunk(2, -1)
        sigmoid = 1 / (1 + (-gate).exp())
        h = gate * sigmoid * value
        d_gate = d_h * value * (sigmoid + gate * sigmoid * (1 - sigmoid))
        d_z = torch.cat([d_gate, d_h * gate * sigmoid], -1)
    elif activation == "gelu":
        normal_cdf = (1 + torch.erf(a / math.sqrt(2))) / 2
        density = (-a * a / 2).exp() / math.sqrt(2 * math.pi)
        h, d_z = a * normal_cdf, d_h * (normal_cdf + a * density)
    else:
        inner = math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * a * a)
        t = inner.tanh()
        h, d_z = a * (1 + t) / 2, d_h * ((1 + t) / 2 + a * (1 - t * t) * slope / 2)
    d_bias = None if bias is None else d_z.reshape(-1, a.shape[-1]).sum(0)
    return h, d_z, d_bias
