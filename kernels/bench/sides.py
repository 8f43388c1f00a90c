"""The two sides of a claim: what is timed or weighed, on random data that both share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kernels import gemm
from kernels.bench import plain
from kernels.bench.claims import Claim, FFNTask, LossTask
from kernels.bench.ffn import FFN, INPUT_SETS, Layer, dtype_on, inputs, timed
from kernels.cross_entropy import linear_cross_entropy
from kernels.timing import Contender

SUBJECT, BASELINE = "subject", "baseline"


@dataclass(frozen=True)
class Pair:
    """The sides of one claim, and the arithmetic that the subject's task nominally is."""

    subject: Contender
    baseline: Contender
    flops: int

    def named(self) -> dict[str, Contender]:
        return {SUBJECT: self.subject, BASELINE: self.baseline}


def pair(claim: Claim, device: torch.device, onednn: bool) -> Pair:
    """Both sides on fresh data, of a task that `kernels` alone can do."""
    torch.manual_seed(0)
    if isinstance(claim.task, FFNTask):
        found = _ffn_pair(claim.task, claim, device)
    else:
        assert isinstance(claim.task, LossTask)
        found = _loss_pair(claim.task, device)
    # Only against a dense layer is the library the same on both sides.
    baseline_onednn = onednn and claim.baseline == "dense"
    if device.type != "cpu":
        return found
    return Pair(
        by_library(found.subject, onednn), by_library(found.baseline, baseline_onednn), found.flops
    )


def by_library(side: Contender, onednn: bool) -> Contender:
    """The side with the CPU's products by oneDNN, or by torch's default."""

    def run(number: int) -> None:
        with gemm.using(onednn):
            side(number)

    return run


def _ffn_pair(task: FFNTask, claim: Claim, device: torch.device) -> Pair:
    data = inputs(task.layer.width, task.tokens, device)
    layer = FFN(task.layer, device, task.guided)
    against = layer.plain
    if claim.baseline == "dense":
        against = FFN(Layer("dense", task.layer.width), device).fast
    weights = task.layer.weights
    if task.guided:
        weights += Layer("dense", task.layer.width).weights
    flops = (2 if task.passed == "forward" else 6) * weights * task.tokens
    return Pair(timed(layer.fast, data, task.passed), timed(against, data, task.passed), flops)


def _loss_pair(task: LossTask, device: torch.device) -> Pair:
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

    def side(fast: bool) -> Contender:
        function = linear_cross_entropy if fast else plain.cross_entropy

        def run(number: int) -> None:
            x, targets = data[number % INPUT_SETS]
            x.grad = weight.grad = None
            function(x, weight, targets).backward()

        return run

    return Pair(side(True), side(False), 6 * task.tokens * task.width * task.vocabulary)
