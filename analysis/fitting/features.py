"""The features of a pure law: what is the same for all problems and all theta.

A law is pure where the derivatives of its terms' logarithms do not depend on its exponents, as for
a sum of powers. Sums over runs are then matrix products with constant features.
"""

from dataclasses import dataclass

import numpy as np

from analysis.laws.law import Array, Law

Entries = list[tuple[int, int]]  # (row, column) of the Hessian
GRADIENT = -1  # the row before its first


@dataclass(frozen=True)
class Features:
    """Products of the derivatives of a pure law's terms, by run.

    `single[j]` [n, q + q q] holds the derivatives of term j's logarithm and their products,
    `pairs[j, m]` [n, q_j q_m] the products of two terms' derivatives. Sums over runs of these, side
    by side, times `to_both` are the gradient beside the Hessian, [p + p p]; those of the pairs
    alone times `to_majorizer` are the majorizer.
    """

    n_parameters: int
    single: list[Array]
    pairs: dict[tuple[int, int], Array]
    to_both: Array
    to_majorizer: Array


def pure_features(law: Law, x: Array) -> Features | None:
    """Compute the features of `law` at x [variables, n]; None for a curved law."""
    if law.is_curved:
        return None
    k, n = law.n_coefficients, x.shape[1]
    slopes = law.basis(np.zeros((1, len(law.exponents))), x)[1]
    places = [[j, *(k + a for a, _ in own)] for j, own in enumerate(slopes)]
    features = [np.stack([np.ones(n), *(z for _, z in own)], axis=1) for own in slopes]

    def products(j: int, m: int) -> Array:
        return (features[j][:, :, None] * features[m][:, None, :]).reshape(n, -1)

    count, p = len(features), len(law.parameters)
    every = [(j, m) for j in range(count) for m in range(j, count)]
    alone: list[Entries] = []
    for own in places:
        alone += [[(GRADIENT, a)] for a in own] + [[(a, b)] for a in own for b in own]
    paired = [
        [(a, b), (b, a)] if j != m else [(a, b)]
        for j, m in every
        for a in places[j]
        for b in places[m]
    ]
    return Features(
        n_parameters=p,
        single=[np.concatenate([features[j], products(j, j)], axis=1) for j in range(count)],
        pairs={(j, m): products(j, m) for j, m in every},
        to_both=_places([*alone, *paired], p),
        to_majorizer=_places(paired, p)[:, p:],
    )


def _places(sums: list[Entries], p: int) -> Array:
    """Place sums: [sums, p + p p] of ones where each is added to gradient or Hessian."""
    found = np.zeros((len(sums), p + p * p))
    for i, entries in enumerate(sums):
        for row, column in entries:
            found[i, p + row * p + column] = 1.0
    return found
