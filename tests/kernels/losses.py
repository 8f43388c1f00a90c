"""Problems of the linear cross entropy, and their solutions in float64 by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

IGNORED = -100
Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class Problem:
    """Inputs of the loss, and the factor `upstream` of its gradients."""

    features: Tensor
    weight: Tensor
    targets: Tensor
    reduction: str = "mean"
    upstream: float = 1.75
    ignore_index: int = IGNORED

    @classmethod
    def draw(
        cls,
        batch: tuple[int, ...],
        n: int,
        vocabulary: int,
        ignored: int = 1,
        reduction: str = "mean",
    ) -> Problem:
        """Draw normal features and weights; the first `ignored` targets do not count."""
        targets = torch.randint(vocabulary, batch)
        targets.view(-1)[:ignored] = IGNORED
        weight = torch.randn(vocabulary, n)
        return cls(torch.randn(*batch, n), weight, targets, reduction)

    def to(self, device: torch.device, dtype: torch.dtype) -> Problem:
        """Copy features and weight as leaves that need gradients."""
        features, weight = (
            t.detach().to(device, dtype, copy=True).requires_grad_()
            for t in (self.features, self.weight)
        )
        return replace(self, features=features, weight=weight, targets=self.targets.to(device))

    def solve(self, loss: Loss) -> dict[str, Tensor]:
        """Return the loss and the gradients that leaves need, by name, in float64 on the CPU."""
        value = loss(self.features, self.weight, self.targets, self.reduction, self.ignore_index)
        leaves = {"features": self.features, "weight": self.weight}
        needed = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
        grads = torch.autograd.grad(value * self.upstream, list(needed.values()))
        for leaf, grad in zip(needed.values(), grads, strict=True):
            assert grad.dtype == leaf.dtype
        found = {"loss": value, **dict(zip(needed, grads, strict=True))}
        return {name: tensor.detach().cpu().double() for name, tensor in found.items()}


def solution(problem: Problem) -> dict[str, Tensor]:
    """Return the loss and its gradients in float64, from the formulas of the softmax."""
    x = problem.features.detach().cpu().double().reshape(-1, problem.features.shape[-1])
    w = problem.weight.detach().cpu().double()
    targets = problem.targets.cpu().reshape(-1)
    rows = torch.nonzero(targets != problem.ignore_index).squeeze(1)
    logits = x @ w.T
    probabilities = (logits - logits.amax(1, keepdim=True)).exp()
    probabilities = probabilities / probabilities.sum(1, keepdim=True)
    picked = probabilities[rows, targets[rows]]
    count = len(rows) if problem.reduction == "mean" else 1
    d_logits = torch.zeros_like(probabilities)
    d_logits[rows] = probabilities[rows]
    d_logits[rows, targets[rows]] -= 1
    d_logits *= problem.upstream / max(count, 1)
    loss = -picked.log().sum()
    return {
        "loss": loss / count if count else loss * float("nan"),
        "features": (d_logits @ w).view(problem.features.shape),
        "weight": d_logits.T @ x,
    }


def errors_of(
    problem: Problem, loss: Loss, dtype: torch.dtype, device: torch.device | None = None
) -> dict[str, float]:
    """Return norm-relative errors of the loss and its gradients in that dtype, by name."""
    found = problem.to(device or torch.device("cpu"), dtype).solve(loss)
    wanted = solution(problem)
    return {
        name: float((value - wanted[name]).norm() / wanted[name].norm().clamp(min=1e-300))
        for name, value in found.items()
    }
