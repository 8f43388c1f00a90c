"""When to stack: the published formula for the tokens on which the base is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workloads.errors import InputError

# Layers of the grown model over those of the base (Du et al. 2024, arXiv 2405.15319, section 4.3).
FACTOR = 4


@dataclass(frozen=True)
class Guideline:
    """Tokens of the base's training, and the factor by which its depth grows.

    It is `outside` where the base's tokens are not below those of the run, which the formula's
    range does not have: so it is for small runs.
    """

    base_tokens: int
    factor: int
    outside: bool


def guideline(params: float, tokens: float) -> Guideline:
    """Return the guideline for `params` parameters of the grown model and `tokens` of all training.

    log10 d = 0.88 log10 N + 163.27 / log10 C - 5.74 with C = 6 N x tokens (arXiv 2405.15319,
    section 4.2, whose print has "+ -5.74"). Raises InputError for numbers below 1.
    """
    for name, value in (("params", params), ("tokens", tokens)):
        if not 1 <= value < math.inf:
            raise InputError(f"{name} {value:g} is no count; the nearest that is is 1")
    flops = 6 * params * tokens
    base_tokens = 10 ** (0.88 * math.log10(params) + 163.27 / math.log10(flops) - 5.74)
    return Guideline(round(base_tokens), FACTOR, outside=base_tokens >= tokens)
