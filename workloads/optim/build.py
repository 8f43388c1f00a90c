"""The optimizer of a model, and the rates of its parameter groups."""

from __future__ import annotations

import torch
from torch import nn

from workloads.optim.config import OptimizerConfig


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, tokens_per_step: int | None = None
) -> torch.optim.Optimizer:
    """Return the optimizer of all parameters of the model that are trained, at its peak rate.

    `tokens_per_step` are those of the run, over all workers; a kind that needs them raises
    ValueError where they are not given.
    """
    optimizer = config.build(config.parameter_groups(model), tokens_per_step)
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set each group's rate: the schedule's, times the group's own multiplier if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_multiplier", 1.0)
