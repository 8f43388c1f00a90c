"""Learning-rate schedules."""

from __future__ import annotations

import math

from workloads.optim.config import OptimizerConfig


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the rate of 0-based `step` of S `steps`, with a warm-up of W and decay from D on:

    - step < W: peak (step + 1)/W
    - cosine, W = int(warmup_fraction S), D = W (arXiv 2406.16450, experimental setup):
      min + (peak - min)(1 + cos(pi (step - D)/(S - D)))/2
    - constant, W = warmup_steps: peak
    - wsd, W = warmup_steps (warm-up, stable, decay; Hu et al. 2024, arXiv 2404.06395, section 4,
      with a linear decay): peak for step < D = S - max(1, round(decay_fraction S)), then
      min + (peak - min)(1 - (step - D)/(S - D))
    """
    peak = config.learning_rate
    floor = config.min_learning_rate_ratio * peak
    if config.warmup_steps is None:
        warmup = start = int(config.warmup_fraction * steps)
    else:
        warmup, start = config.warmup_steps, config.decay_start(steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if step < start:
        return peak
    progress = (step - start) / (steps - start)
    if config.schedule == "wsd":
        return floor + (peak - floor) * (1 - progress)
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2
