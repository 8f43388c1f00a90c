"""What Muon declares: its options, its groups, and what it costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from workloads.optim.config import (
    Fraction,
    OptimizerConfig,
    OptimizerOptions,
    Trained,
    is_hidden_matrix,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

# The momentum of a matrix, in fp32.
MATRIX_STATE_BYTES = 4
# Newton-Schulz iterations, each of two products with the wide side and one of the narrow side.
ITERATIONS = 5


class MuonOptions(OptimizerOptions):
    """Muon for the matrices of the layers, AdamW for embeddings, head, norms and biases.

    The steps of both have about the same size, so that a learning rate of AdamW carries over
    (arXiv 2502.16982). Every block of a structured factor is a matrix; projections that are stored
    as one matrix, such as queries, keys and values, are one.
    """

    state_bytes_per_param: ClassVar[int] = 2 * 4  # AdamW's two means in fp32.
    steps_on_cpu: ClassVar[bool] = False  # Its products are work for the device.

    kind: Literal["muon"]
    """The optimizer."""
    momentum: Fraction = 0.95
    """Decay of the sum of gradients of matrices."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    """Decay of AdamW's means of gradients and of their squares."""

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        matrices = {id(p) for name, p in model.named_parameters() if is_hidden_matrix(name, p)}
        groups = [
            group
            | {
                "params": [p for p in group["params"] if (id(p) in matrices) == orthogonal],
                "orthogonal": orthogonal,
            }
            for group in super().parameter_groups(model)
            for orthogonal in (True, False)
        ]
        return [group for group in groups if group["params"]]

    def build(
        self, groups: list[dict[str, Any]], tokens_per_step: int | None
    ) -> torch.optim.Optimizer:
        """Return the optimizer of these groups."""
        from workloads.optim.muon import Muon

        return Muon(groups, momentum=self.momentum, betas=self.betas)

    def state_bytes(self, trained: Trained) -> int:
        matrices = MATRIX_STATE_BYTES * trained.in_hidden_matrices
        return matrices + self.state_bytes_per_param * trained.others

    def step_norm(self, rows: int, columns: int) -> float | None:
        """Return the norm of an orthogonal step as Moonlight scales it."""
        return math.sqrt(max(rows, columns))

    def extra_step_flops(self, trained: Trained, tokens: int, pass_flops: int) -> int:
        """Return the FLOPs of orthogonalizing the matrices, by one worker."""
        return sum(
            count * orthogonalization_flops(rows, columns)
            for count, rows, columns in trained.hidden_matrices
        )


class MuonConfig(MuonOptions, OptimizerConfig):
    """Muon of one run."""


def orthogonalization_flops(rows: int, columns: int) -> int:
    """Return the FLOPs of the Newton-Schulz products for one matrix."""
    narrow, wide = sorted((rows, columns))
    return ITERATIONS * (2 * 2 * narrow * narrow * wide + 2 * narrow**3)
