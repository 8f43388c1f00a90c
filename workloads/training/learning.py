"""The phase in which a growth is learned: matrices are trained by the loss of the grown model.

The grown model runs as any other, with weights that are multiplied out of the matrices and the
frozen base before each step; the gradients of these weights go on to the matrices after it. What is
trained, and stands in checkpoints, are matrices and base (`workloads.nn.growth.learn`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.distributed.tensor import DTensor

from workloads.config.growth import plan_of
from workloads.config.model import GrowthConfig
from workloads.nn.growth.grow import operator_of
from workloads.nn.growth.learn import Learn, LearnedGrowth
from workloads.nn.growth.widening import Weights
from workloads.nn.outline import outline
from workloads.nn.transformer import Transformer
from workloads.training.checkpoint import placed


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
        self._model, self._parameters = model, dict(model.named_parameters())
        self._edges: dict[str, GradientEdge] = {}

    def begin(self) -> None:
        """Put the weights that the matrices give now into the model, which has no gradients yet."""
        if self._learned is None:
            return
        self._model.zero_grad(set_to_none=True)  # the optimizer clears those of the matrices alone
        for name, weight in self._learned.weights().items():
            if weight.requires_grad:
                self._edges[name] = get_gradient_edge(weight)
            with torch.no_grad():
                self._parameters[name].copy_(placed(weight.detach(), self._parameters[name]))

    def end(self) -> None:
        """Take the gradients of the weights on to the matrices."""
        if self._edges:
            gradients = [_gradient(self._parameters[name]) for name in self._edges]
            torch.autograd.backward([*self._edges.values()], gradients)
        self._edges = {}


def _gradient(parameter: Tensor) -> Tensor:
    """Return the whole gradient, 0 where the passes have left none."""
    found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return found.full_tensor() if isinstance(found, DTensor) else found
