"""Self-guided linear layer: y = a W x + (1 - a) S x + b, with a dense guide W and structured S.

The formulation is that of Wei et al. 2024 (arXiv 2406.16450), section 4. Both terms are linear in
x, so they are one product with the merged matrix a W + (1 - a) S. Merging multiplies the factors
of S out, at a cost that does not depend on the number of tokens; the tokens then take one dense
product. The gradient of the merged matrix is passed on to W and, block by block, to the factors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.factored import Factorization, Factors
from kernels.switches import fast


def self_guided(
    factorization: type[Factorization],
    x: Tensor,
    guide: Tensor,
    guide_share: Tensor,
    weights: Factors,
) -> Tensor:
    """Apply a self-guided linear layer: x (..., n) to (..., m). Autocast products use its dtype.

    Args:
        factorization: structure of S.
        x: (..., n).
        guide: W, (m, n).
        guide_share: a, (), between 0 and 1. It gets no gradient.
        weights: the factors of S, and the bias b.
    """
    # For fewer tokens, applying the factors costs less than multiplying them out.
    merging_pays = x.numel() >= min(guide.shape) * x.shape[-1]
    if merging_pays and fast("self_guided"):
        return F.linear(x, merge(factorization, guide, guide_share, weights), weights.bias)
    return reference(factorization, x, guide, guide_share, weights)


def merge(
    factorization: type[Factorization], guide: Tensor, guide_share: Tensor, weights: Factors
) -> Tensor:
    """Return the merged matrix a W + (1 - a) S, (m, n), in the dtype of the guide; differentiable.

    Under autocast the factors are multiplied in its dtype and added to the guide in the guide's
    dtype. Only the product over tokens then rounds their sum.
    """
    # Scaling u is cheaper than scaling S, and addcmul reads W only once.
    structured = factorization.dense(weights.v, (1 - guide_share) * weights.u)
    return torch.addcmul(structured, guide, guide_share)


def reference(
    factorization: type[Factorization],
    x: Tensor,
    guide: Tensor,
    guide_share: Tensor,
    weights: Factors,
) -> Tensor:
    """Compute `self_guided` in plain torch: both products over all tokens, then their mixture."""
    # BlockShuffle's result may be transposed, and adding tensors of two layouts is slow.
    product = factorization.linear(x, weights._replace(bias=None)).contiguous()
    mixed = guide_share * F.linear(x, guide) + (1 - guide_share) * product
    return mixed if weights.bias is None else mixed + weights.bias.to(mixed.dtype)
