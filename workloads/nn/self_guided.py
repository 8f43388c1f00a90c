"""Self-guided training: dense guides that lead the structured weights, then fade out.

A guided projection computes a W x + (1 - a) S x, with guide W and structured weights S. The guide
weight a falls from 1 to 0 over the guided steps (Wei et al. 2024, arXiv 2406.16450, section 4).
Guide weights and draws are functions of the run's configuration and the step, so that a resumed run
goes on with the same ones, on every worker.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from kernels.switches import fast
from workloads.config.model import GuideConfig
from workloads.config.rates import guide_weight
from workloads.config.run import RunConfig
from workloads.nn.projections.base import Projection

# Keeps these draws apart from others that the same seed makes.
STREAM = 0x6D1DE


def add_guides(model: nn.Module, guide: GuideConfig) -> None:
    """Give every structured projection its guide, from the weights as they are now."""
    for module in model.modules():
        if isinstance(module, Projection) and module.mergeable:
            module.add_guide(guide.init)


def set_guides(model: nn.Module, step: int, config: RunConfig) -> float:
    """Set every guide for the step after `step` optimizer steps; return the guide weight.

    Under `reduce_flops` each projection draws whether its guide runs, with the guide weight as the
    probability. The guide weight of a model without guides is 0.
    """
    guided = guided_projections(model)
    if not guided or config.model.guide is None:
        return 0.0
    guide = config.model.guide
    weight = guide_weight(step, config.phases[0].steps, guide)
    draws = np.random.RandomState(
        np.random.MT19937(np.random.SeedSequence([STREAM, config.seed, step]))
    ).random_sample(len(guided))
    for projection, draw in zip(guided, draws, strict=True):
        projection.guide_weight.fill_(weight)
        projection.guide_runs = not guide.reduce_flops or bool(draw < weight)
    return weight


class MergedGuides:
    """One merge of each guide with its structured weights, shared by all passes of a step.

    Call `begin` before the first pass, `before_last` before the last one, which takes gradients on
    to guides and factors, and `end` after it. Passes without gradients need no `before_last`.
    Weights in shards are left out: a layer that has gathered its own merges them in each pass,
    because whole matrices that last for a step are what sharding has no memory for.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._merges: dict[Projection, Tensor] = {}

    def begin(self, precision: AbstractContextManager[object]) -> None:
        """Merge in the precision of the passes, which leave their gradients with the merges."""
        if not fast("self_guided"):
            return
        with precision:
            self._merges = {
                projection: projection.merge()
                for projection in guided_projections(self._model)
                if projection.guided and not isinstance(projection.guide, DTensor)
            }
        for projection, merge in self._merges.items():
            projection.shared_merge = merge.detach().requires_grad_()

    def before_last(self) -> None:
        """Have the last pass add the gradients of the others to its own and take them on.

        The products that lead to guides and factors run once so, and where DDP awaits gradients.
        """
        for projection, merge in self._merges.items():
            _add_gradient_of(projection.shared_merge, merge)
            projection.shared_merge = merge

    def end(self) -> None:
        """Let the merges go: passes that follow merge for themselves."""
        for projection in self._merges:
            projection.shared_merge = None
        self._merges = {}


def _add_gradient_of(leaf: Tensor | None, merge: Tensor) -> None:
    """Add the leaf's gradient to that of `merge` as soon as there is one."""

    def add(gradient: Tensor) -> Tensor:
        assert leaf is not None
        return gradient if leaf.grad is None else gradient + leaf.grad

    merge.register_hook(add)


def drop_guides(model: nn.Module) -> None:
    """End self-guided training: the guides are no longer parameters of the model."""
    for projection in guided_projections(model):
        projection.guide = None


def guided_projections(model: nn.Module) -> list[Projection]:
    """Return the projections that have a guide now."""
    return [m for m in model.modules() if isinstance(m, Projection) and m.guide is not None]
