"""AdamW and the learning-rate schedules."""

from __future__ import annotations

import torch
from torch import nn

from workloads.optim.config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Fused AdamW on every parameter; the paper decays all of them."""
    parameters = list(model.parameters())
    undecayed = [p for p in parameters if p.ndim < 2 and config.decay == "matrices"]
    kept = {id(p) for p in undecayed}
    decayed = [p for p in parameters if id(p) not in kept]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
