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
from kernels.registered import Differentiable, Opaque

IN_TRITON = (torch.float32, torch.bfloat16)  # On CUDA; the rest of types take the way of CPUs.


def bias_activation(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """Of z (..., m) and bias (m,): (..., m) for `gelu` and `gelu_tanh`, (..., m/2) for `swiglu`.

    The result has the dtype of z; another activation is a KeyError.
    """
    if torch.compiler.is_compiling() or not switches.fast("bias_activation"):
        return definition(z, bias, activation)
    return BIASED(z, bias, activation)


def definition(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """The same function as it is written down, in plain torch."""
    return activate(_biased(z, bias), activation)


def _activate(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    if _in_triton(z):
        from kernels.cuda.bias_activation import activate_rows  # Only here is Triton needed.

        return activate_rows(z, bias, activation)
    return activate(_biased(z, bias), activation)


def _empty(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    h = activate(_biased(z, bias), activation)
    return h.new_empty(h.shape) if _in_triton(z) else h


def _differentiate(
    d_h: Tensor, z: Tensor, bias: Tensor | None, activation: str, for_bias: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of z and of the bias, which is empty where it is not asked for."""
    if _in_triton(z):
        from kernels.cuda.bias_activation import differentiate_rows

        d_z, d_bias = differentiate_rows(d_h, z, bias, activation)
    else:
        biased = _biased(z, bias)
        d_z, d_bias = torch.empty_like(biased), None
        gradient_into(d_z, d_h, biased, activation)
        if bias is not None and for_bias:
            precise = torch.promote_types(d_z.dtype, torch.float32)
            d_bias = d_z.reshape(-1, len(bias)).sum(0, dtype=precise).to(bias.dtype)
    return d_z, d_z.new_empty(0) if d_bias is None or not for_bias else d_bias


def _empty_gradients(
    d_h: Tensor, z: Tensor, bias: Tensor | None, activation: str, for_bias: bool
) -> tuple[Tensor, Tensor]:
    d_z = z.new_empty(z.shape) if _in_triton(z) else torch.empty_like(_biased(z, bias))
    return d_z, z.new_empty(0) if bias is None or not for_bias else torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor | None, str], output: Tensor) -> None:
    z, bias, ctx.activation = inputs
    ctx.save_for_backward(z, bias)


def _backward(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor | None, None]:
    z, bias = ctx.saved_tensors
    for_bias = bias is not None and ctx.needs_input_grad[1]
    d_z, d_bias = GRADIENTS(d_h, z, bias, ctx.activation, for_bias)
    return d_z, d_bias if for_bias else None, None


GRADIENTS = Opaque("bias_activation_backward", _differentiate, _empty_gradients)
BIASED = Differentiable("bias_activation", _activate, _empty, _save, _backward)


def _biased(z: Tensor, bias: Tensor | None) -> Tensor:
    return z if bias is None else z + bias.to(z.dtype)


def _in_triton(z: Tensor) -> bool:
    """Whether its kernels take z: they want a row's numbers next to each other.

    The wide side of `block_shuffle` is the other way round, and torch keeps it so.
    """
    return z.device.type == "cuda" and z.dtype in IN_TRITON and z.stride(-1) == 1
