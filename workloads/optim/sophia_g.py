"""Sophia-G (Liu et al. 2023, arXiv 2305.14342, algorithms 2 and 3, with the Gauss-Newton-Bartlett
estimate): steps that are divided by an estimate of the Hessian's diagonal, and clipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import ParamsT

from workloads.optim.closure_step import ClosureStep

EPSILON = 1e-15


class SophiaG(ClosureStep):
    """Sophia-G, without a correction of the means' bias, as its authors publish it.

    With gradient g and Hessian h, a step is m <- b1 m + (1 - b1) g, then w <- (1 - lr decay) w -
    lr clip(m/(rho B h + 1e-15), -1, 1). An update of the Hessian is h <- b2 h + (1 - b2) g^2, where
    g is the mean gradient of the loss on sampled labels over B tokens, `tokens_per_step`.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.965, 0.99),
        rho: float = 0.05,
        weight_decay: float = 0.2,
        tokens_per_step: int | None = None,
    ) -> None:
        if tokens_per_step is None:
            raise ValueError("Sophia-G needs the tokens of a step; give tokens_per_step")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "rho": rho,
                "weight_decay": weight_decay,
                "tokens_per_step": tokens_per_step,
            },
        )

    @torch.no_grad()
    def update_hessian(self) -> None:
        """Take the gradients at hand, of the mean loss on sampled labels, into the Hessian."""
        for group in self.param_groups:
            decay = group["betas"][1]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = _own(parameter.grad)
                    hessian = _own(self._state_of(parameter)["hessian"])
                    hessian.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)

    def take_step(self) -> None:
        """Take one step along the gradients at hand."""
        for group in self.param_groups:
            scale = group["rho"] * group["tokens_per_step"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._state_of(parameter)
                mean, weight = _own(state["exp_avg"]), _own(parameter)
                mean.lerp_(_own(parameter.grad), 1 - group["betas"][0])
                curvature = _own(state["hessian"]).mul(scale).add_(EPSILON)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(
                    torch.div(mean, curvature, out=curvature).clamp_(-1, 1), alpha=group["lr"]
                )

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["hessian"] = torch.zeros_like(parameter)
        return state


def _own(tensor: Tensor) -> Tensor:
    """Return the shard that this worker has, or the whole tensor where there are no shards: every
    entry is updated by itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
