"""The update of the weights: the norm of gradients, clipping, the optimizer's step, and masters.

Master weights are fp32 copies of a model's parameters, which the optimizer updates in their place.

A parameter has a master where it is too coarse to be updated (bf16), or where the optimizer's state
lies in CPU memory while the parameter does not. A parameter is its master rounded, after every
step; so a checkpoint holds the master as the weight, and runs with and without masters go on from
each other's checkpoints. The gradients of masters exist for one part of the model at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def add_masters(model: nn.Module, on_cpu: bool) -> None:
    """Give every parameter of the model a master of its value, on its device or in CPU memory."""
    for parameter in model.parameters():
        device = torch.device("cpu") if on_cpu else parameter.device
        copy = parameter.detach().to(device, torch.float32, copy=True)
        parameter.master = nn.Parameter(copy)  # type: ignore[attr-defined]


def updated(parameter: Tensor) -> Tensor:
    """Return what the optimizer updates, and keeps its state of: the master, if there is one."""
    return getattr(parameter, "master", parameter)


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Return the norm of all gradients of these parameters, summed in at least fp32."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if all(gradient.dtype != torch.bfloat16 for gradient in gradients):
        return nn.utils.get_total_norm(gradients)
    norms = [torch.linalg.vector_norm(each, dtype=torch.float32) for each in gradients]
    return nn.utils.get_total_norm(norms)


def number(norm: Tensor) -> float:
    """Return a norm as a float; under sharding that of all shards."""
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


@torch.no_grad()
def take_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, norm: Tensor, max_norm: float
) -> None:
    """Clip the gradients, whose norm is given, to `max_norm`, and take the optimizer's step.

    With masters the step is taken part by part, so that fp32 gradients of one layer, or of all
    that is in no layer, are there at once. Gradients of parameters are gone after it.
    """
    parameters = list(model.parameters())
    if all(updated(p) is p for p in parameters):
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return
    # As torch clips, to the last digit.
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    factor = torch.clamp(max_norm / (whole + 1e-6), max=1.0)
    for part in _parts(model):
        for parameter in part:
            master = updated(parameter)
            assert parameter.grad is not None
            master.grad = parameter.grad.to(master.device, torch.float32, copy=True)
            master.grad.mul_(factor.to(master.device))
            parameter.grad = None
        optimizer.step()
        for parameter in part:
            master = updated(parameter)
            parameter.copy_(master)
            master.grad = None


def _parts(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters that have a gradient: those of each layer, and the others."""
    layers = [list(layer.parameters()) for layer in model.layers]  # type: ignore[union-attr]
    inside = {id(parameter) for layer in layers for parameter in layer}
    parts = [*layers, [p for p in model.parameters() if id(p) not in inside]]
    return [[p for p in part if p.grad is not None] for part in parts]
