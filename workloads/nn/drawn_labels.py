"""Labels that a model draws from its own predictions, as estimates of its curvature need them.

Every label is drawn with a number of its own, a function of seed, step and place in the batch. So a
resumed run draws the same labels, and so does any number of workers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Keeps these draws apart from others that the same seed makes.
STREAM = 0x1ABE1
# The most entries of logits at once: they take less memory than those of the loss.
CHUNK = 2**23


def label_draws(seed: int, step: int, batch_size: int, block_size: int) -> Tensor:
    """Return the numbers in [0, 1) that draw the labels of a step, (batch_size, block_size)."""
    bits = np.random.Philox(np.random.SeedSequence([STREAM, seed, step]))
    draws = np.random.Generator(bits).random((batch_size, block_size), dtype=np.float32)
    return torch.from_numpy(draws)


@torch.no_grad()
def drawn_labels(features: Tensor, weight: Tensor, draws: Tensor) -> Tensor:
    """Return ids (...) drawn from softmax(features @ weight.T), each at its number of `draws`.

    The label is the first id at which the sum of probabilities exceeds the number. Logits are made
    for a part of the tokens at a time.

    Args:
        features: (..., n).
        weight: (vocabulary, n).
        draws: (...), in [0, 1).
    """
    size = max(1, CHUNK // len(weight))
    parts = zip(features.flatten(0, -2).split(size), draws.flatten().split(size), strict=True)
    labels = [_drawn(F.linear(part, weight), numbers) for part, numbers in parts]
    return torch.cat(labels).view_as(draws)


def _drawn(logits: Tensor, draws: Tensor) -> Tensor:
    """Return ids (tokens,) drawn from logits (tokens, vocabulary)."""
    rows = logits.to(torch.promote_types(logits.dtype, torch.float32))
    sums = rows.sub(rows.amax(1, keepdim=True)).exp_().cumsum_(1)
    wanted = draws.to(sums.dtype)[:, None] * sums[:, -1:]
    # Rounding may bring the product up to the sum of all.
    return torch.searchsorted(sums, wanted, right=True).squeeze(1).clamp_(max=sums.shape[1] - 1)
