"""Initial weights and learning rates of hidden matrices of any shape, from one condition.

A matrix of `rows` outputs and `columns` inputs turns inputs of size 1 into outputs of size 1, at
the start and after each step, if its spectral norm and that of its steps are both of the order of
sqrt(rows / columns) (Yang, Simon and Bernstein 2023, arXiv 2310.17813, condition 1). For dense
matrices under Adam that is muP: initial variance and rate fall as 1/columns (Yang et al. 2022,
arXiv 2203.03466, table 8). A factored projection is two matrices in a row, so each factor has the
condition for itself, and a block-diagonal factor has the norm of its largest block, so each block
has. `docs/recipes.md` derives what follows for each FFN kind.
"""

from __future__ import annotations

import math

from workloads.config.matrices import Matrix, hidden_matrices
from workloads.config.model import ModelConfig
from workloads.errors import Misfit
from workloads.optim.config import OptimizerOptions
from workloads.optim.roles import Factors
from workloads.recipes.rules.rule import Situation


def initial_factors(at: Situation) -> dict[str, float]:
    """Return what the initial weights of each hidden role are multiplied by: (target norm / norm
    without a rule), over the same at the base. A guide has no entry: it starts as the product of
    its factors."""
    base = _by_role(at.base.model_copy(update={"guide": None}))
    own = _by_role(at.run.model.model_copy(update={"guide": None}))
    factors = {role: _clean(_excess(base[role]) / _excess(matrix)) for role, matrix in own.items()}
    return {role: factor for role, factor in factors.items() if factor != 1}


def rate_factors(at: Situation) -> dict[str, Factors]:
    """Return the factors of each hidden role: for the rate (target norm / norm of a step) over the
    same at the base, and for the weight decay its inverse.

    Decoupled decay takes rate x decay of a weight in each step. Its product stays that of the base,
    so decay is over as many steps in every width (Wang and Aitchison 2024, arXiv 2405.13698).
    """
    base, optimizer = _by_role(at.base), at.run.optimizer
    found: dict[str, Factors] = {}
    for role, matrix in _by_role(at.run.model).items():
        rate = _clean(_rate(matrix, optimizer) / _rate(base[role], optimizer))
        if rate != 1:
            found[role] = Factors(rate=rate, decay=_clean(1 / rate))
    return found


def _clean(factor: float) -> float:
    """Return the factor without the last digits, where roots leave more than there is to it."""
    return float(f"{factor:.12g}")


def _by_role(model: ModelConfig) -> dict[str, Matrix]:
    return {matrix.role: matrix for matrix in hidden_matrices(model)}


def _target_norm(matrix: Matrix) -> float:
    return math.sqrt(matrix.rows / matrix.columns)


def _excess(matrix: Matrix) -> float:
    """Return how many times the target norm a matrix starts with."""
    if matrix.initial_norm is None:
        raise Misfit(
            f"no transfer rule is known for {matrix.role}: its FFN kind does not say how its "
            "weights start; set recipe: fixed",
            *("recipe", "ffn.kind"),
        )
    return matrix.initial_norm / _target_norm(matrix)


def _rate(matrix: Matrix, optimizer: OptimizerOptions) -> float:
    norm = optimizer.step_norm(matrix.rows, matrix.columns)
    if norm is None:
        kind = optimizer.written_words()[0]
        raise Misfit(
            f"no transfer rule is known for the steps of {kind}; set recipe: fixed, or another "
            "optimizer.kind",
            *("recipe", "optimizer.kind", "optimizer"),
        )
    return _target_norm(matrix) / norm
