"""Comparisons: the candidate and the baseline of a claim, on the same random data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kernels import gemm
from kernels.bench import baselines
from kernels.bench.claims import Claim, FFNTask, LossTask
from kernels.bench.ffn import FFN, INPUT_SETS, Layer, dtype_on, inputs, passing
from kernels.cross_entropy import linear_cross_entropy
from kernels.timing import Contender

CANDIDATE, BASELINE = "candidate", "baseline"


@dataclass(frozen=True)
class Comparison:
    """The two contenders of one claim, and the nominal FLOPs of the candidate's task.

    The FLOPs include those of a guide.
    """

    candidate: Contender
    baseline: Contender
    flops: int

    def contenders(self) -> dict[str, Contender]:
        """Return both contenders by name."""
        return {CANDIDATE: self.candidate, BASELINE: self.baseline}


def compare(claim: Claim, device: torch.device, onednn: bool) -> Comparison:
    """Build both contenders of a claim that `kernels` can measure, on fresh data.

    On a CPU `onednn` says by which library the candidate multiplies.
    """
    torch.manual_seed(0)
    if isinstance(claim.task, FFNTask):
        found = _compare_ffns(claim.task, claim, device)
    else:
        assert isinstance(claim.task, LossTask)
        found = _compare_losses(claim.task, device)
    if device.type != "cpu":
        return found
    # Only a dense baseline uses the same library as the candidate.
    baseline_onednn = onednn and claim.baseline == "dense"
    return Comparison(
        with_library(found.candidate, onednn),
        with_library(found.baseline, baseline_onednn),
        found.flops,
    )


def with_library(contender: Contender, onednn: bool) -> Contender:
    """Make a contender that multiplies by oneDNN, or by torch's default on a CPU."""

    def run(number: int) -> None:
        with gemm.using(onednn):
            contender(number)

    return run


def _compare_ffns(task: FFNTask, claim: Claim, device: torch.device) -> Comparison:
    data = inputs(task.layer.width, task.tokens, device)
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
