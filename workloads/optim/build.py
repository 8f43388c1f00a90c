"""The optimizer of a model, and the rates of its parameter groups."""

from __future__ import annotations

import torch
from torch import nn

from workloads.optim.config import OptimizerConfig
from workloads.optim.update import updated


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of all parameters of the model, at its peak rate."""
    groups = config.parameter_groups(model)
    groups = [group | {"params": [updated(p) for p in group["params"]]} for group in groups]
    optimizer = config.build(groups)
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set each group's rate: the schedule's, times the group's own multiplier if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_multiplier", 1.0)
