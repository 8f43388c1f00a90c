"""What a run records of itself at a step: how far it is, and how fast it goes."""

from __future__ import annotations

import torch

from workloads.config.run import RunConfig
from workloads.cost.flops import hardware_flops_at, train_flops_at
from workloads.run_dir.metrics_log import Row
from workloads.training import parallel
from workloads.training.clock import Clock
from workloads.training.hardware import peak_flops_per_second, peak_memory_bytes


def position(config: RunConfig, step: int) -> Row:
    """Return how far the run is after `step` optimizer steps, in every unit."""
    return {
        "step": step,
        "tokens": config.tokens_at(step),
        "train_flops": train_flops_at(config, step),
        "hardware_flops": hardware_flops_at(config, step),
    }


def pace(config: RunConfig, step: int, clock: Clock, device: torch.device) -> Row:
    """Return the speed and the worst loss since the last row, and memory."""
    steps, seconds, worst_loss = clock.end_interval()
    row = {
        "tokens_per_second": steps * config.tokens_per_step / seconds,
        "train_seconds": clock.train_seconds(),
        "train_loss_max": worst_loss,
        "peak_memory_bytes": peak_memory_bytes(device),
    }
    if peak := peak_flops_per_second(device):
        flops = train_flops_at(config, step) - train_flops_at(config, step - steps)
        row["mfu"] = flops / seconds / (peak * parallel.world_size())
    return row
