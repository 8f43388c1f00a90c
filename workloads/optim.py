"""AdamW and the learning-rate schedule: linear warm-up, then cosine decay (the paper's)."""

from __future__ import annotations

import math

import torch
from torch import nn

from workloads.config import OptimizerConfig


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """The rate of 0-based `step` of `steps` (arXiv 2406.16450, experimental setup).

    lr (step + 1)/warmup while step < warmup = int(warmup_fraction steps), then
    min + (lr - min)(1 + cos(pi (step - warmup)/(steps - warmup)))/2.
    """
    peak = config.learning_rate
    warmup = int(config.warmup_fraction * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    floor = config.min_learning_rate_ratio * peak
    progress = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


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
