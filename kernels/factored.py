"""What the products of two factors share: y = U V x + b for structured U and V.

An operation (`BlockDense`, `BlockShuffle`) multiplies into memory it is given, in the layout of
activations that it works in. `product` makes one layer of it; `kernels.feed_forward` a whole FFN;
`kernels.self_guided` mixes it with a dense matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Factors(NamedTuple):
    """The weights of one projection; v is applied first. Also their gradients."""

    v: Tensor
    u: Tensor
    bias: Tensor | None

    def zeros(self) -> Factors:
        """Zeros of the same shapes and dtypes, to add gradients to."""
        bias = None if self.bias is None else torch.zeros_like(self.bias)
        return Factors(torch.zeros_like(self.v), torch.zeros_like(self.u), bias)


class Operation(Protocol):
    """Activations are (tokens, features) tensors, whatever their layout in memory."""

    @staticmethod
    def empty(like: Tensor, tokens: int, features: int) -> Tensor:
        """Memory for activations in the layout that the operation works in."""
        ...

    @staticmethod
    def sizes(weights: Factors) -> tuple[int, int]:
        """The inner features and the features of y."""
        ...

    @staticmethod
    def multiply(x: Tensor, weights: Factors, inner: Tensor, y: Tensor) -> None:
        """Fill `inner` with V x, and y, which may be row-major, with U inner + b."""
        ...

    @staticmethod
    def differentiate(
        d_y: Tensor, x: Tensor, inner: Tensor, weights: Factors, d_x: Tensor, sums: Factors
    ) -> None:
        """Fill d_x, and add the gradients of the weights to `sums`."""
        ...

    @staticmethod
    def linear(x: Tensor, weights: Factors) -> Tensor:
        """(..., n) to (..., m): one layer of it."""
        ...

    @staticmethod
    def dense(v: Tensor, u: Tensor) -> Tensor:
        """(m, n): the matrix that the factors multiply out to, block by block; differentiable."""
        ...


def product(operation: type[Operation], x: Tensor, weights: Factors) -> Tensor:
    """(..., n) to (..., m). Under autocast the products are in its dtype."""
    x, v, u = as_autocast(x, weights.v, weights.u)
    y = _Product.apply(operation, x.reshape(-1, x.shape[-1]), v, u, weights.bias)
    return y.reshape(*x.shape[:-1], y.shape[1])


class _Product(torch.autograd.Function):
    """(tokens, n) to (tokens, m); the wide side is in the layout of the operation."""

    @staticmethod
    def forward(
        ctx: Any, operation: type[Operation], x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> Tensor:
        weights = Factors(v, u, bias)
        inner_dim, m = operation.sizes(weights)
        inner = operation.empty(x, len(x), inner_dim)
        wide = m > x.shape[1]
        y = operation.empty(x, len(x), m) if wide else x.new_empty(len(x), m)
        operation.multiply(x, weights, inner, y)
        ctx.operation = operation
        ctx.save_for_backward(x, inner, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, *saved = ctx.saved_tensors
        weights = Factors(*saved)
        sums = weights.zeros()
        d_x = torch.empty_like(x)  # In the layout of x, which is also its producer's.
        ctx.operation.differentiate(grads[0], x, inner, weights, d_x, sums)
        return None, d_x, *sums


def multiply_blocks(a: Tensor, b: Tensor, out: Tensor, add: bool = False) -> None:
    """out[i] = a[i] @ b[i], or out[i] += a[i] @ b[i], through the strides of `out`."""
    if a.is_cuda or a.dtype != torch.bfloat16:
        if add:
            torch.baddbmm(out, a, b, out=out)
        else:
            torch.bmm(a, b, out=out)
        return
    # One by one: the CPU's batched product takes a thousand times longer on some strides.
    for a_block, b_block, out_block in zip(a, b, out, strict=True):
        torch.addmm(out_block, a_block, b_block, beta=int(add), out=out_block)


def as_autocast(*tensors: Tensor) -> list[Tensor]:
    """Cast as autocast casts the operands of a product, on the device of the first of them."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [t if t.dtype == torch.float64 else t.to(dtype) for t in tensors]
