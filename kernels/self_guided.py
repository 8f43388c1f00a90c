"""Self-guided linear: y = a W x + (1 - a) S x + b, with a dense W and a structured S.

Nothing nonlinear lies between the two, so they are one matrix, We = a W + (1 - a) S. It is formed
from the weights alone, whatever the number of tokens, and the tokens take one dense product. Its
gradient goes on to W and to the factors of S by products of the weights' size, block by block.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.factored import Factors, Operation
from kernels.switches import fast


def self_guided(
    operation: type[Operation], x: Tensor, guide: Tensor, share: Tensor, weights: Factors
) -> Tensor:
    """(..., n) to (..., m), with guide (m, n) and share (), both without a gradient of share.

    Under autocast the products are in its dtype.
    """
    # The factors multiply out at the price of applying them to fewer tokens than these.
    many = x.numel() >= min(guide.shape) * x.shape[-1]
    if many and fast("self_guided"):
        return F.linear(x, merge(operation, guide, share, weights), weights.bias)
    return definition(operation, x, guide, share, weights)


def merge(operation: type[Operation], guide: Tensor, share: Tensor, weights: Factors) -> Tensor:
    """(m, n): We, in the guide's dtype; differentiable.

    Under autocast the factors multiply out in its dtype, the two are added in the guide's, and
    the product over tokens rounds their sum.
    """
    # The share goes to the smaller side of the product; W enters with one pass over the matrix.
    return torch.addcmul(operation.dense(weights.v, (1 - share) * weights.u), guide, share)


def definition(
    operation: type[Operation], x: Tensor, guide: Tensor, share: Tensor, weights: Factors
) -> Tensor:
    """The same function as it is written down: both paths over all tokens, then the mixture."""
    # In one layout: blockshuffle's may be transposed, and mixing the two is slow.
    product = operation.linear(x, weights._replace(bias=None)).contiguous()
    mixed = share * F.linear(x, guide) + (1 - share) * product
    return mixed if weights.bias is None else mixed + weights.bias.to(mixed.dtype)
