"""Dense: y = W x + b, as an operation of `kernels.feed_forward`; W may be a merged guide."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Matrix(NamedTuple):
    """The weights of one projection, (m, n) and (m,). Also their gradients."""

    weight: Tensor
    bias: Tensor | None


class Dense:
    """The operation; its activations are row-major, and none are on the way."""

    @staticmethod
    def empty(like: Tensor, tokens: int, features: int) -> Tensor:
        return like.new_empty(tokens, features)

    @staticmethod
    def sizes(weights: Matrix) -> tuple[int, int]:
        return 0, len(weights.weight)

    @staticmethod
    def multiply(x: Tensor, weights: Matrix, inner: Tensor, y: Tensor) -> None:
        weight, bias = weights
        if bias is None:
            torch.mm(x, weight.t(), out=y)
        else:
            torch.addmm(bias.to(y.dtype), x, weight.t(), out=y)

    @staticmethod
    def differentiate(
        d_y: Tensor, x: Tensor, inner: Tensor, weights: Matrix, d_x: Tensor, sums: Matrix
    ) -> None:
        if sums.bias is not None:
            sums.bias.add_(d_y.sum(0, dtype=sums.bias.dtype))
        torch.addmm(sums.weight, d_y.t(), x, out=sums.weight)
        torch.mm(d_y, weights.weight, out=d_x)
