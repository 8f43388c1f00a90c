"""The laws: what loss is said to be as a function of what a run costs."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class PowerLaw:
    """L(C) = E + a C^-b: validation loss (nats per token) against training FLOPs C.

    With E = 0 this is the law of Kaplan et al. 2020 (arXiv 2001.08361, eq. 1.3); E is the
    irreducible loss of Hoffmann et al. 2022 (arXiv 2203.15556, eq. 2). `a` is kept as its
    logarithm: it is the loss extrapolated to one FLOP, and a steep law takes it out of range.
    """

    log_a: float
    b: float
    E: float = 0.0

    @property
    def a(self) -> float:
        """The factor a, in nats per token times FLOPs^b; infinite when it overflows."""
        try:
            return math.exp(self.log_a)
        except OverflowError:
            return math.inf

    def predict(self, train_flops: ArrayLike) -> NDArray[np.float64]:
        """Loss in nats per token at each of `train_flops`, in the shape of the latter."""
        log_C = np.log(np.asarray(train_flops, dtype=np.float64))
        return self.E + np.exp(self.log_a - self.b * log_C)
