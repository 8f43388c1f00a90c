"""Linear maps whose matrix is a product of two structured factors: y = U V x + b.

A factorization (`BlockDense`, `BlockShuffle`) says how V and U are structured. It multiplies into
memory that the caller allocates, in the memory layout of activations that suits it.
`FactoredLinear` makes one linear layer of a factorization, `kernels.feed_forward` a whole FFN, and
`kernels.self_guided` mixes it with a dense matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from kernels.custom_op import CustomOp, DifferentiableOp


class Factors(NamedTuple):
    """Weights of one projection, or their gradients; v is applied first, then u, then the bias."""

    v: Tensor
    u: Tensor
    bias: Tensor | None

    def zeros(self) -> Factors:
        """Allocate zeros of the same shapes and dtypes, to which gradients are added."""
        bias = None if self.bias is None else torch.zeros_like(self.bias)
        return Factors(torch.zeros_like(self.v), torch.zeros_like(self.u), bias)


class Factorization(Protocol):
    """Structure of the two factors, from n input features by way of inner features to m.

    Activations are (tokens, features) tensors, whatever their layout in memory.
    """

    @staticmethod
    def allocate(like: Tensor, tokens: int, features: int) -> Tensor:
        """Allocate (tokens, features) activations in the layout that the factorization prefers.

        The dtype and the device are those of `like`.
        """
        ...

    @staticmethod
    def sizes(weights: Factors) -> tuple[int, int]:
        """Return the number of inner features and the number m of output features."""
        ...

    @staticmethod
    def multiply(x: Tensor, weights: Factors, inner: Tensor, y: Tensor) -> None:
        """Fill `inner` with V x, and y with U inner + b. y may be row-major."""
        ...

    @staticmethod
    def differentiate(
        d_y: Tensor, x: Tensor, inner: Tensor, weights: Factors, d_x: Tensor, sums: Factors
    ) -> None:
        """Fill d_x with the gradient by x, and add the gradients by the weights to `sums`.

        `inner` is what `multiply` filled, and d_y is the gradient by y.
        """
        ...

    @staticmethod
    def linear(x: Tensor, weights: Factors) -> Tensor:
        """Apply one differentiable linear layer: (..., n) to (..., m)."""
        ...

    @staticmethod
    def dense(v: Tensor, u: Tensor) -> Tensor:
        """Multiply the factors out to the dense matrix (m, n), block by block; differentiable."""
        ...


class FactoredLinear:
    """A linear layer of one factorization, with its gradients, as torch custom operators."""

    def __init__(self, name: str, factorization: type[Factorization]) -> None:
        self._factorization = factorization
        self.gradients = CustomOp(f"{name}_backward", self._gradients, self._allocate_gradients)
        self.forward = DifferentiableOp(
            name, self._forward, self._allocate_results, _save, self._backward
        )

    def __call__(self, x: Tensor, weights: Factors) -> Tensor:
        """Apply the layer: (..., n) to (..., m). Under autocast the products use its dtype."""
        x, v, u = cast_as_autocast(x, weights.v, weights.u)
        bias = weights.bias
        # The compiler fuses adding the bias, and summing its gradient, into neighbouring passes.
        add_after = bias is not None and torch.compiler.is_compiling()
        rows = x.reshape(-1, x.shape[-1])
        y, _ = self.forward(rows, v, u, None if add_after else bias)
        y = y.reshape(*x.shape[:-1], y.shape[1])
        return y + bias.to(y.dtype) if bias is not None and add_after else y

    def _forward(
        self, x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute y (tokens, m) and the inner features (tokens, inner) from x (tokens, n)."""
        y, inner = self._allocate_results(x, v, u, bias)
        self._factorization.multiply(x, Factors(v, u, bias), inner, y)
        return y, inner

    def _allocate_results(
        self, x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Allocate y, in the layout of the factorization if y is wider than x, and `inner`."""
        inner_dim, m = self._factorization.sizes(Factors(v, u, bias))
        wide = m > x.shape[1]
        y = self._factorization.allocate(x, len(x), m) if wide else x.new_empty(len(x), m)
        return y, self._factorization.allocate(x, len(x), inner_dim)

    def _backward(self, ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        # Read only once: under activation checkpointing each access may recompute them.
        x, inner, v, u, bias = ctx.saved_tensors
        d_x, d_v, d_u, d_bias = self.gradients(d_y, x, inner, v, u, bias)
        return d_x, d_v, d_u, None if bias is None else d_bias

    def _gradients(
        self, d_y: Tensor, x: Tensor, inner: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the gradients by x, v, u and the bias, the last empty if there is no bias."""
        d_x, d_v, d_u, d_bias = self._allocate_gradients(d_y, x, inner, v, u, bias)
        sums = Factors(d_v.zero_(), d_u.zero_(), None if bias is None else d_bias.zero_())
        self._factorization.differentiate(d_y, x, inner, Factors(v, u, bias), d_x, sums)
        return d_x, d_v, d_u, d_bias

    def _allocate_gradients(
        self, d_y: Tensor, x: Tensor, inner: Tensor, v: Tensor, u: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Allocate the gradients; d_x has the layout of x, which its producer prefers."""
        d_bias = d_y.new_empty(0) if bias is None else torch.empty_like(bias)
        return torch.empty_like(x), torch.empty_like(v), torch.empty_like(u), d_bias


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, v, u, bias = inputs
    _, inner = output
    ctx.save_for_backward(x, inner, v, u, bias)


def multiply_blocks(a: Tensor, b: Tensor, out: Tensor, add: bool = False) -> None:
    """Fill out[i] with a[i] @ b[i], or add a[i] @ b[i] to it. `out` may have any strides."""
    if a.is_cuda:
        if add:
            torch.baddbmm(out, a, b, out=out)
        else:
            torch.bmm(a, b, out=out)
        return
    # Block by block: on some CPUs oneDNN's batched product, which torch takes for bfloat16 and for
    # lowered precision of float32, is a thousand times slower where blocks stand apart in memory.
    for a_block, b_block, out_block in zip(a, b, out, strict=True):
        torch.addmm(out_block, a_block, b_block, beta=int(add), out=out_block)


def cast_as_autocast(*tensors: Tensor) -> list[Tensor]:
    """Cast tensors as autocast casts the operands of a product on the first tensor's device."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [t if t.dtype == torch.float64 else t.to(dtype) for t in tensors]
