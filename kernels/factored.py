"""What the products of two factors share: y = U V x + b for structured U and V.

An operation (`BlockDense`, `BlockShuffle`) multiplies into memory it is given, in the layout of
activations that it works in. `Product` makes one layer of it; `kernels.feed_forward` a whole FFN;
`kernels.self_guided` mixes it with a dense matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from kernels.registered import Differentiable, Opaque


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


class Product:
    """One layer of an operation, registered by its name."""

    def __init__(self, name: str, operation: type[Operation]) -> None:
        self._operation = operation
        self.gradients = Opaque(f"{name}_backward", self._differentiate, self._empty_gradients)
        self.forward = Differentiable(name, self._multiply, self._empty, _save, self._backward)

    def __call__(self, x: Tensor, weights: Factors) -> Tensor:
        """(..., n) to (..., m). Under autocast the products are in its dtype."""
        x, v, u = as_autocast(x, weights.v, weights.u)
        bias = weights.bias
        # A compiler adds the bias, and sums its gradient, in passes that there are anyway.
        after = bias is not None and torch.compiler.is_compiling()
        rows = x.reshape(-1, x.shape[-1])
        y, _ = self.forward(rows, v, u, None if after else bias)
        y = y.reshape(*x.shape[:-1], y.shape[1])
        return y + bias.to(y.dtype) if bias is not None and after else y

    def _multiply(
        self, x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(tokens, n) to y (tokens, m), and the inner features."""
        y, inner = self._empty(x, v, u, bias)
        self._operation.multiply(x, Factors(v, u, bias), inner, y)
        return y, inner

    def _empty(self, x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Memory for the results; the wide side is in the layout of the operation."""
        inner_dim, m = self._operation.sizes(Factors(v, u, bias))
        wide = m > x.shape[1]
        y = self._operation.empty(x, len(x), m) if wide else x.new_empty(len(x), m)
        return y, self._operation.empty(x, len(x), inner_dim)

    def _backward(self, ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # Once: they may be recomputed.
        *grads, d_bias = self.gradients(d_y, *saved)
        return *grads, None if saved[-1] is None else d_bias

    def _differentiate(
        self, d_y: Tensor, x: Tensor, inner: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradients of x, v, u and the bias, which is empty where there is none."""
        d_x, d_v, d_u, d_bias = self._empty_gradients(d_y, x, inner, v, u, bias)
        sums = Factors(d_v.zero_(), d_u.zero_(), None if bias is None else d_bias.zero_())
        self._operation.differentiate(d_y, x, inner, Factors(v, u, bias), d_x, sums)
        return d_x, d_v, d_u, d_bias

    def _empty_gradients(
        self, d_y: Tensor, x: Tensor, inner: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Memory for the gradients; that of x has the layout of x, which is also its producer's."""
        d_bias = d_y.new_empty(0) if bias is None else torch.empty_like(bias)
        return torch.empty_like(x), torch.empty_like(v), torch.empty_like(u), d_bias


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *weights = inputs
    ctx.save_for_backward(x, output[1], *weights)


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
