"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), as Moonlight scales it (Liu et al.
2025, arXiv 2502.16982): steps of matrices are orthogonal, those of other parameters AdamW's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate
from torch.optim import AdamW
from torch.optim.optimizer import ParamsT

from workloads.optim.closure_step import ClosureStep
from workloads.optim.muon_config import ITERATIONS

# Of the odd polynomial a s + b s^3 + c s^5 of the singular values, which Jordan et al. chose so
# that five iterations bring all but tiny ones between 0.7 and 1.2.
COEFFICIENTS = 3.4445, -4.7750, 2.0315
# Root mean square of the entries of a step over the learning rate, which AdamW's have about
# (arXiv 2502.16982, section 2.2).
UPDATE_RMS = 0.2
EPSILON = 1e-7


class Muon(ClosureStep):
    """Muon for the groups with `orthogonal`, AdamW for the others.

    With gradient g, a step of a matrix of r rows and c columns is m <- momentum m + g, then w <-
    (1 - lr decay) w - lr 0.2 sqrt(max(r, c)) O, where O is g + momentum m (Nesterov) with all
    singular values near 1. A tensor of three dimensions is a stack of matrices.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.1,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"orthogonal": False})
        others = [group for group in self.param_groups if not group["orthogonal"]]
        self._adamw = AdamW(others, fused=True) if others else None
        if self._adamw:  # It shares the groups, with their rates, and the state.
            self._adamw.state = self.state

    def take_step(self) -> None:
        """Take one step along the gradients at hand."""
        for group in self.param_groups:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step_matrix(parameter, parameter.grad, group)
        if self._adamw:
            self._adamw.step()

    def _step_matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].mul_(momentum).add_(gradient)
        update = _like(orthogonalized(_whole(gradient.add(mean, alpha=momentum))), parameter)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        scale = UPDATE_RMS * math.sqrt(max(parameter.shape[-2:]))
        parameter.sub_(update, alpha=group["lr"] * scale)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return matrices (..., r, c) with their singular vectors, and singular values of about 1.

    Five Newton-Schulz iterations, in bf16 on CUDA devices, as published.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    if tall:  # The products of the narrow side are smaller.
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def _whole(tensor: Tensor) -> Tensor:
    """Return a tensor of which each worker has a shard whole on every worker."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(whole: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor that every worker has whole in shards, if the parameter is in shards."""
    if not isinstance(parameter, DTensor):
        return whole
    mesh = parameter.device_mesh
    copies = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return copies.redistribute(placements=parameter.placements)
