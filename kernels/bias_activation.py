"""activation(z + bias), which stores only z and the bias for the backward pass.

The backward pass computes z + bias and the activation again, so that neither the sum nor SwiGLU's
activated gate is stored. The forward and the backward pass each read z once, and the backward pass
also sums the gradient of the bias (`kernels.cuda.bias_activation`). This is for CUDA: on a CPU
computing twice takes longer than storing. `torch.compile` traces and fuses the plain reference. The
bias is None where the preceding matrix product has added it already, as the projections of the FFN
do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import switches
from kernels.activation import activate, gradient_into
from kernels.custom_op import CustomOp, DifferentiableOp

# dtypes that the Triton kernels serve on CUDA; others are computed in torch, as on a CPU.
TRITON_DTYPES = (torch.float32, torch.bfloat16)


def bias_activation(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """Return activation(z + bias) in the dtype of z.

    Args:
        z: (..., m).
        bias: (m,) or None.
        activation: `gelu` or `gelu_tanh`, whose result is (..., m), or `swiglu`, (..., m/2).

    Raises:
        KeyError: the activation is none of these.
    """
    if not _pays(z) or torch.compiler.is_compiling() or not switches.fast("bias_activation"):
        return reference(z, bias, activation)
    return BIAS_ACTIVATION(z, bias, activation)


def reference(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """Compute `bias_activation` in plain torch."""
    return activate(_add_bias(z, bias), activation)


def _forward(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    if _suits_triton(z):
        from kernels.cuda.bias_activation import activate_rows  # Only here is Triton needed.

        return activate_rows(z, bias, activation)
    return activate(_add_bias(z, bias), activation)


def _fake_forward(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    h = activate(_add_bias(z, bias), activation)
    return h.new_empty(h.shape) if _suits_triton(z) else h


def _gradients(
    d_h: Tensor, z: Tensor, bias: Tensor | None, activation: str, for_bias: bool
) -> tuple[Tensor, Tensor]:
    """Compute the gradients by z and by the bias; the latter is empty unless `for_bias`."""
    if _suits_triton(z):
        from kernels.cuda.bias_activation import differentiate_rows

        d_z, d_bias = differentiate_rows(d_h, z, bias, activation)
    else:
        biased = _add_bias(z, bias)
        d_z, d_bias = torch.empty_like(biased), None
        gradient_into(d_z, d_h, biased, activation)
        if bias is not None and for_bias:
            precise = torch.promote_types(d_z.dtype, torch.float32)
            d_bias = d_z.reshape(-1, len(bias)).sum(0, dtype=precise).to(bias.dtype)
    return d_z, d_z.new_empty(0) if d_bias is None or not for_bias else d_bias


def _fake_gradients(
    d_h: Tensor, z: Tensor, bias: Tensor | None, activation: str, for_bias: bool
) -> tuple[Tensor, Tensor]:
    d_z = z.new_empty(z.shape) if _suits_triton(z) else torch.empty_like(_add_bias(z, bias))
    return d_z, z.new_empty(0) if bias is None or not for_bias else torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor | None, str], output: Tensor) -> None:
    z, bias, ctx.activation = inputs
    ctx.save_for_backward(z, bias)


def _backward(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor | None, None]:
    z, bias = ctx.saved_tensors
    for_bias = bias is not None and ctx.needs_input_grad[1]
    d_z, d_bias = BIAS_ACTIVATION_GRADIENTS(d_h, z, bias, ctx.activation, for_bias)
    return d_z, d_bias if for_bias else None, None


BIAS_ACTIVATION_GRADIENTS = CustomOp("bias_activation_backward", _gradients, _fake_gradients)
BIAS_ACTIVATION = DifferentiableOp("bias_activation", _forward, _fake_forward, _save, _backward)


def _add_bias(z: Tensor, bias: Tensor | None) -> Tensor:
    return z if bias is None else z + bias.to(z.dtype)


def _pays(z: Tensor) -> bool:
    """Return whether computing twice takes less time than storing."""
    return z.is_cuda


def _suits_triton(z: Tensor) -> bool:
    """Return whether the Triton kernels serve z: each row must be contiguous.

    The (tokens, ffn_dim) activations of `block_shuffle` are stored feature-major, and element-wise
    operations keep that layout; those are computed in torch.
    """
    return z.device.type == "cuda" and z.dtype in TRITON_DTYPES and z.stride(-1) == 1
