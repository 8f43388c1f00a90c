"""activation(z + bias), which keeps z for the backward pass and computes all else there again.

What torch keeps besides, the sum with the bias and SwiGLU's activated gate, is not kept, and on
CUDA each pass reads z once, the bias gradient included (`kernels.cuda.bias_activation`). Compiled
code fuses the definition by itself. Where a library's product adds the bias, as those of the FFN
do, it is None here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import switches
from kernels.activation import activate, gradient_into
from kernels.once import refuse_second_derivatives

IN_TRITON = (torch.float32, torch.bfloat16)  # On CUDA; the rest of types take the way of CPUs.


def bias_activation(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """Of z (..., m) and bias (m,): (..., m) for `gelu` and `gelu_tanh`, (..., m/2) for `swiglu`.

    The result has the dtype of z; another activation is a KeyError.
    """
    if torch.compiler.is_compiling() or not switches.fast("bias_activation"):
        return definition(z, bias, activation)
    return _BiasActivation.apply(z, bias, activation)


def definition(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """The same function as it is written down, in plain torch."""
    return activate(_biased(z, bias), activation)


class _BiasActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        ctx.activation = activation
        ctx.save_for_backward(z, bias)
        if _in_triton(z):
            from kernels.cuda.bias_activation import activate_rows  # Only here is Triton needed.

            return activate_rows(z, bias, activation)
        return activate(_biased(z, bias), activation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        refuse_second_derivatives()
        z, bias = ctx.saved_tensors
        if _in_triton(z):
            from kernels.cuda.bias_activation import differentiate_rows

            return *differentiate_rows(grads[0], z, bias, ctx.activation), None
        biased = _biased(z, bias)
        d_z = torch.empty_like(biased)
        gradient_into(d_z, grads[0], biased, ctx.activation)
        if bias is None or not ctx.needs_input_grad[1]:
            return d_z, None, None
        precise = torch.promote_types(d_z.dtype, torch.float32)
        d_bias = d_z.reshape(-1, len(bias)).sum(0, dtype=precise)
        return d_z, d_bias.to(bias.dtype), None


def _biased(z: Tensor, bias: Tensor | None) -> Tensor:
    return z if bias is None else z + bias.to(z.dtype)


def _in_triton(z: Tensor) -> bool:
    """Whether its kernels take z: they want a row's numbers next to each other.

    The wide side of `block_shuffle` is the other way round, and torch keeps it so.
    """
    return z.device.type == "cuda" and z.dtype in IN_TRITON and z.stride(-1) == 1
