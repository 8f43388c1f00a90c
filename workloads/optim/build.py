"""The optimizer of a model, and the rates of its parameter groups."""

from __future__ import annotations

import torch
from torch import nn

from workloads.optim.config import OptimizerConfig
from workloads.optim.update import add_masters, updated


def build_optimizer(
    trained: nn.Module,
    config: OptimizerConfig,
    tokens_per_step: int | None = None,
    on_cpu: bool = False,
) -> torch.optim.Optimizer:
    """Return the optimizer of all parameters of the module that are trained, at its peak rate.

    Parameters of bf16 get fp32 masters, which it updates in their place; with `on_cpu` all do, in
    CPU memory, where its state then lies and its step is taken. `tokens_per_step` are those of the
    run, over all workers; a kind that needs them raises ValueError where they are not given.
    """
    add_masters(trained, on_cpu)
    groups = config.parameter_groups(trained)
    groups = [group | {"params": [updated(p) for p in group["params"]]} for group in groups]
    optimizer = config.build(groups, tokens_per_step)
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set each group's rate: the schedule's, times the group's own multiplier if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_multiplier", 1.0)
