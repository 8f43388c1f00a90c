"""Self-guided training: dense guides that lead the structured weights, then fade out.

The share a of the guides falls from 1 to 0 over the first `guided_steps` of a run (Wei et al. 2024,
arXiv 2406.16450, section 4). Everything here is a function of the run's configuration and the
step, so a resumed run goes on with the same shares and the same draws, on every worker.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from workloads.config import GuideConfig, RunConfig
from workloads.ffn import DenseProjection, Projection

# Keeps these draws apart from others that the same seed makes.
STREAM = 0x6D1DE


def guide_share(step: int, guided_steps: int, guide: GuideConfig) -> float:
    """a after `step` optimizer steps, 1 to 0: (1 + cos(pi step/guided_steps))/2, or linear."""
    progress = min(1.0, step / guided_steps)
    if guide.schedule == "linear":
        return 1 - progress
    return (1 + math.cos(math.pi * progress)) / 2


def add_guides(model: nn.Module, guide: GuideConfig) -> None:
    """Give every structured projection its guide, from the weights as they are now."""
    for module in model.modules():
        if isinstance(module, Projection) and not isinstance(module, DenseProjection):
            module.add_guide(guide.init)


def set_guides(model: nn.Module, step: int, config: RunConfig) -> float:
    """Set every guide for the step after `step` optimizer steps; returns their share.

    Under `reduce_flops` each projection draws whether its guide runs, with the share as the
    probability.
    """
    guided = guided_projections(model)
    if not guided or config.model.guide is None:
        return 0.0
    guide = config.model.guide
    share = guide_share(step, config.guided_steps, guide)
    draws = np.random.RandomState(
        np.random.MT19937(np.random.SeedSequence([STREAM, config.seed, step]))
    ).random_sample(len(guided))
    for projection, draw in zip(guided, draws, strict=True):
        projection.guide_share.fill_(share)
        projection.guide_runs = not guide.reduce_flops or bool(draw < share)
    return share


def drop_guides(model: nn.Module) -> None:
    """End self-guided training: the guides are no longer parameters of the model."""
    for projection in guided_projections(model):
        projection.guide = None


def guided_projections(model: nn.Module) -> list[Projection]:
    """The projections that have a guide now."""
    return [m for m in model.modules() if isinstance(m, Projection) and m.guide is not None]
