"""Comparisons: the candidate and the baseline of a claim, on the same random data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import switches
from kernels.attention import attention
from kernels.bench import baselines
from kernels.bench.claims import Claim, FFNTask, LossTask, OperationTask
from kernels.bench.ffn import FFN, INPUT_SETS, Layer, dtype_on, inputs, passing
from kernels.cross_entropy import linear_cross_entropy
from kernels.rotary import rotary
from kernels.timing import Contender

CANDIDATE, BASELINE = "candidate", "baseline"


@dataclass(frozen=True)
class Comparison:
    """The two contenders of one claim, and the nominal FLOPs of the candidate's task.

    The FLOPs include those of a guide. They are None where memory bounds the task.
    """

    candidate: Contender
    baseline: Contender
    flops: int | None

    def contenders(self) -> dict[str, Contender]:
        """Return both contenders by name."""
        return {CANDIDATE: self.candidate, BASELINE: self.baseline}


def compare(claim: Claim, device: torch.device) -> Comparison:
    """Build both contenders of a claim that `kernels` can measure, on fresh data."""
    torch.manual_seed(0)
    if isinstance(claim.task, FFNTask):
        return _compare_ffns(claim.task, claim, device)
    if isinstance(claim.task, LossTask):
        return _compare_losses(claim.task, device)
    assert isinstance(claim.task, OperationTask)
    return _compare_operations(claim.task, device)


def _compare_ffns(task: FFNTask, claim: Claim, device: torch.device) -> Comparison:
    data = inputs((task.tokens, task.layer.width), device)
    ffn = FFN(task.layer, device, task.guided)
    dense_layer = Layer("dense", task.layer.width)
    baseline = FFN(dense_layer, device).fast if claim.baseline == "dense" else ffn.plain
    weights = task.layer.weights + (dense_layer.weights if task.guided else 0)
    flops_per_weight = 2 if task.passes == "forward" else 6
    return Comparison(
        passing(ffn.fast, data, task.passes),
        passing(baseline, data, task.passes),
        flops_per_weight * weights * task.tokens,
    )


def _compare_losses(task: LossTask, device: torch.device) -> Comparison:
    dtype = dtype_on(device)
    weight = torch.randn(task.vocabulary, task.width, device=device) * task.width**-0.5
    weight = weight.to(dtype).requires_grad_()
    data = [
        (
            torch.randn(task.tokens, task.width, device=device, dtype=dtype).requires_grad_(),
            torch.randint(task.vocabulary, (task.tokens,), device=device),
        )
        for _ in range(INPUT_SETS)
    ]

    def differentiate(fast: bool) -> Contender:
        loss = linear_cross_entropy if fast else baselines.cross_entropy

        def run(number: int) -> None:
            x, targets = data[number % INPUT_SETS]
            x.grad = weight.grad = None
            loss(x, weight, targets).backward()

        return run

    flops = 6 * task.tokens * task.width * task.vocabulary
    return Comparison(differentiate(fast=True), differentiate(fast=False), flops)


def _compare_operations(task: OperationTask, device: torch.device) -> Comparison:
    data = inputs(task.shape, device)
    fast = passing(_operation(task, device), data, "forward and backward")

    def plain(number: int) -> None:
        with switches.reference(task.operation):
            fast(number)

    return Comparison(fast, plain, None)


def _operation(task: OperationTask, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the operation as a function of its activations."""
    if task.operation == "attention":
        return lambda x: attention(x, x, x, scale=task.shape[-1] ** -0.5)
    angles = torch.randn(2, *task.shape[-2:], device=device)
    return lambda x: rotary(x, angles)
