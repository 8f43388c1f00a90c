"""The phase in which a growth is learned: matrices are trained by the loss of the grown model.

The grown model runs as any other, with weights that are multiplied out of the matrices and the
frozen base before each step; the gradients of these weights go on to the matrices after it. What is
trained, and stands in checkpoints, are matrices and base (`workloads.nn.growth.learn`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from workloads.config.growth import plan_of
from workloads.config.model import GrowthConfig
from workloads.nn.growth.grow import operator_of
from workloads.nn.growth.learn import Learn, LearnedGrowth
from workloads.nn.growth.widening import Weights
from workloads.nn.outline import outline
from workloads.nn.transformer import Transformer
from workloads.training.checkpoint import placed
from workloads.training.gradients import whole


def learned_growth(growth: GrowthConfig, seed: int, base: Weights) -> LearnedGrowth:
    """Return the module that trains the matrices, from their start, on the device of the base."""
    operator = operator_of(plan_of(growth), seed)
    assert isinstance(operator, Learn)
    return operator.trainable(base)


def unfilled(growth: GrowthConfig, device: torch.device) -> Weights:
    """Return weights of the base that have no values yet."""
    named = outline(growth.base, guided=False, norm_biases=False).named_parameters()
    return {name: torch.empty_like(parameter, device=device) for name, parameter in named}


class MultipliedOut:
    """The weights of the grown model in the steps of the phase; where nothing is learned, none.

    Call `begin` before the passes of a step or an evaluation, and `end` after those of a step. The
    products run once, however many micro-batches there are; every worker makes them all.
    """

    def __init__(self, model: Transformer, trained: nn.Module) -> None:
        self._learned = trained if isinstance(trained, LearnedGrowth) else None
        self._parameters = dict(model.named_parameters())
        self._edges: dict[str, GradientEdge] = {}

    def begin(self) -> None:
        """Put the weights that the matrices give now into the model."""
        weights = self._learned.weights() if self._learned else {}
        for name, weight in weights.items():
            if weight.requires_grad:
                self._edges[name] = get_gradient_edge(weight)
            with torch.no_grad():
                self._parameters[name].copy_(placed(weight, self._parameters[name]))

    def end(self) -> None:
        """Take the gradients of the weights on to the matrices."""
        if self._edges:
            gradients = [_gradient(self._parameters[name]) for name in self._edges]
            torch.autograd.backward([*self._edges.values()], gradients)
        self._edges = {}


def _gradient(parameter: Tensor) -> Tensor:
    return whole(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
