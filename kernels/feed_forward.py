"""A structured FFN for CPUs, fc2(activation(fc1(x))), whose working memory stays in the cache.

The tokens are processed in chunks whose widest activations fit into the cache, through the whole
FFN, forward and then backward. All chunks share one working memory, so that the system maps no new
pages, and the backward pass computes the activation again instead of storing it. Compared with
separate layers this saves about a tenth of the time (`python -m workloads bench train`) and half of
the stored activations. A narrow FFN gains nothing, because its activations fit into the cache as
they are, nor does a dense one, whose products are long enough.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.activation import activate_into, gradient_into
from kernels.factored import Factorization, Factors
from kernels.switches import fast

# Bytes of the widest activations of one chunk: few enough for the cache, many enough for long
# products.
CHUNK_BYTES = 4 * 2**20
# Features between the projections from which on one operation is faster than separate layers.
LEAST_WIDE = 1024


def suits(x: Tensor, wide: int) -> bool:
    """Return whether `feed_forward` serves x, with `wide` features between the projections.

    It serves wide FFNs, float32 or float64 on a CPU, without a compiler.
    """
    return (
        x.device.type == "cpu"
        and wide >= LEAST_WIDE
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and fast("feed_forward")
    )


def feed_forward(
    factorization: type[Factorization], x: Tensor, fc1: Factors, fc2: Factors, activation: str
) -> Tensor:
    """Return fc2(activation(fc1(x))), (..., n), of x (..., n).

    Args:
        factorization: structure of both projections.
        x: (..., n).
        fc1: weights from n to the hidden features, twice as many for `swiglu`.
        fc2: weights from the hidden features to n.
        activation: as in `kernels.activation`.
    """
    tokens = x.reshape(-1, x.shape[-1])
    y = _FeedForward.apply(factorization, activation, tokens, *fc1, *fc2)
    return y.view(x.shape)


class _FeedForward(torch.autograd.Function):
    """Autograd function of `feed_forward`; x is (tokens, n)."""

    @staticmethod
    def forward(
        ctx: Any, factorization: type[Factorization], activation: str, x: Tensor, *weights: Tensor
    ) -> Tensor:
        fc1, fc2 = Factors(*weights[:3]), Factors(*weights[3:])
        inner_1, wide = factorization.sizes(fc1)
        inner_2, _ = factorization.sizes(fc2)
        size = _chunk_tokens(x, wide)
        y = x.new_empty(x.shape)
        hidden = _allocate_hidden(factorization, x, wide, size, activation)
        saved = []
        for x_chunk, y_chunk in zip(x.split(size), y.split(size), strict=True):
            tokens = len(x_chunk)
            h = hidden[:tokens]
            v_x = factorization.allocate(x, tokens, inner_1)
            z = factorization.allocate(x, tokens, wide)
            v_h = factorization.allocate(x, tokens, inner_2)
            factorization.multiply(x_chunk, fc1, v_x, z)
            activate_into(h, z, activation)
            factorization.multiply(h, fc2, v_h, y_chunk)
            saved += [v_x, z, v_h]
        ctx.factorization, ctx.activation, ctx.size = factorization, activation, size
        ctx.save_for_backward(x, *weights, *saved)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        factorization, activation, size = ctx.factorization, ctx.activation, ctx.size
        x, *rest = ctx.saved_tensors
        fc1, fc2, saved = Factors(*rest[:3]), Factors(*rest[3:6]), rest[6:]
        sums_1, sums_2 = fc1.zeros(), fc2.zeros()
        d_x = x.new_empty(x.shape)
        _, wide = factorization.sizes(fc1)
        hidden = _allocate_hidden(factorization, x, wide, size, activation)
        d_hidden = _allocate_hidden(factorization, x, wide, size, activation)
        d_pre = factorization.allocate(x, size, wide) if activation == "swiglu" else d_hidden
        chunks = zip(
            grads[0].split(size),
            x.split(size),
            d_x.split(size),
            saved[::3],
            saved[1::3],
            saved[2::3],
            strict=True,
        )
        for d_y_chunk, x_chunk, d_x_chunk, v_x, z, v_h in chunks:
            tokens = len(z)
            h, d_h, d_z = hidden[:tokens], d_hidden[:tokens], d_pre[:tokens]
            activate_into(h, z, activation)
            factorization.differentiate(d_y_chunk, h, v_h, fc2, d_h, sums_2)
            gradient_into(d_z, d_h, z, activation)
            factorization.differentiate(d_z, x_chunk, v_x, fc1, d_x_chunk, sums_1)
        return None, None, d_x, *sums_1, *sums_2


def _chunk_tokens(x: Tensor, wide: int) -> int:
    return max(1, min(len(x), CHUNK_BYTES // (wide * x.element_size())))


def _allocate_hidden(
    factorization: type[Factorization], x: Tensor, wide: int, tokens: int, activation: str
) -> Tensor:
    """Allocate the activations between the two projections for one chunk."""
    return factorization.allocate(x, tokens, wide // 2 if activation == "swiglu" else wide)
