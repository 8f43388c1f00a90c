"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101): means of gradients and of their squares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from workloads.optim.config import Fraction, OptimizerConfig, OptimizerOptions

if TYPE_CHECKING:
    import torch


class AdamWOptions(OptimizerOptions):
    """AdamW as a study file has it; the defaults are the paper's (arXiv 2406.16450)."""

    state_bytes_per_param: ClassVar[int] = 2 * 4  # Two means in fp32.

    kind: Literal["adamw"] = "adamw"
    """The optimizer."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the means of gradients and of their squares."""

    def build(
        self, groups: list[dict[str, Any]], tokens_per_step: int | None
    ) -> torch.optim.Optimizer:
        """Return torch's fused AdamW of these groups."""
        from torch.optim import AdamW

        return AdamW(groups, betas=self.betas, fused=True)

    def step_norm(self, rows: int, columns: int) -> float | None:
        """Return the norm of a step whose entries are of one size and aligned with the inputs, as
        the signs of a gradient of low rank are (Yang et al. 2023, arXiv 2310.17813)."""
        return math.sqrt(rows * columns)


class AdamWConfig(AdamWOptions, OptimizerConfig):
    """AdamW of one run."""
