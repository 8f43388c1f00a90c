"""The update of the weights: norms of gradients, clipping, what takes the gradients, and masters.

Master weights are fp32 copies of parameters, which the optimizer updates in their place.

A parameter has a master where it is too coarse to be updated (bf16), or where the optimizer's state
lies in CPU memory while the parameter does not. A parameter is its master rounded, after every
step; so a checkpoint holds the master as the weight, and runs with and without masters go on from
each other's checkpoints. The gradients of masters exist for one part of the model at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def add_masters(trained: nn.Module, on_cpu: bool) -> None:
    """Give each trained parameter of bf16 a master of its value on its device, or every trained
    parameter one in CPU memory."""
    for parameter in trained.parameters():
        if parameter.requires_grad and (on_cpu or parameter.dtype == torch.bfloat16):
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
def layer_grad_norms(model: nn.Module) -> dict[str, float]:
    """Return the gradient norm of each layer before clipping, which shows the origin of a spike."""
    return {
        f"layer_grad_norm/{index:02d}": number(gradient_norm(layer.parameters()))
        for index, layer in enumerate(_layers(model))
    }


@torch.no_grad()
def use_gradients(
    trained: nn.Module, use: Callable[[], object], max_norm: float, loss: float = 0.0
) -> float:
    """Clip the gradients of a module to `max_norm`, and have `use` take them, such as an
    optimizer's step; return their norm before. None are left.

    `use` is not called where that norm or the loss they come from is not finite. With masters it is
    called once for each layer, and for all that is in no layer, with the gradients of these alone.
    """
    norm = gradient_norm(trained.parameters())
    before = number(norm)
    if math.isfinite(loss) and math.isfinite(before):
        if all(updated(parameter) is parameter for parameter in trained.parameters()):
            nn.utils.clip_grads_with_norm_(trained.parameters(), max_norm, norm)
            use()
        else:
            _use_on_masters(trained, use, norm, max_norm)
    trained.zero_grad(set_to_none=True)
    return before


def _use_on_masters(
    trained: nn.Module, use: Callable[[], object], norm: Tensor, max_norm: float
) -> None:
    # As torch clips, to the last digit.
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    factor = torch.clamp(max_norm / (whole + 1e-6), max=1.0)
    for part in _parts(trained):
        for parameter in part:
            master = updated(parameter)
            assert parameter.grad is not None
            master.grad = parameter.grad.to(master.device, torch.float32, copy=True)
            master.grad.mul_(factor.to(master.device))
            parameter.grad = None
        use()
        for parameter in part:
            master = updated(parameter)
            parameter.copy_(master)
            master.grad = None


def _parts(trained: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters that have a gradient: those of each layer, and the others."""
    layers = [list(layer.parameters()) for layer in _layers(trained)]
    inside = {id(parameter) for layer in layers for parameter in layer}
    parts = [*layers, [p for p in trained.parameters() if id(p) not in inside]]
    return [[p for p in part if p.grad is not None] for part in parts]


def _layers(module: nn.Module) -> Iterable[nn.Module]:
    """Return the layers of a model; of any other module, none."""
    return getattr(module, "layers", ())
