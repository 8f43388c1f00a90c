"""No operation is slower than its plain formulation, at small sizes, on the CPU that runs this."""

from dataclasses import replace

import pytest
import torch

from kernels.bench.claims import Claim, FFNTask, LossTask, of_kernels
from kernels.bench.comparison import compare
from kernels.bench.ffn import Layer
from tests.kernels.speed import require_speed

CPU = torch.device("cpu")
LEAST = 0.95


def small(claim: Claim) -> Claim:
    """Return the claim at the size of a step of `nano`, where fixed costs count much."""
    task = claim.task
    if isinstance(task, FFNTask):
        task = replace(task, layer=Layer(task.layer.kind, 64, 0.3125), tokens=2048)
    elif isinstance(task, LossTask):
        task = LossTask(tokens=2048, width=64, vocabulary=257)
    return replace(claim, task=task)


SMALL = {
    small(claim).task: small(claim)
    for claim in of_kernels("cpu")
    if claim.quantity == "seconds" and claim.baseline != "dense"
}


@pytest.mark.parametrize("claim", SMALL.values(), ids=lambda claim: claim.name)
def test_no_operation_is_slower_than_its_plain_formulation(claim: Claim) -> None:
    torch.set_num_threads(1)
    require_speed(
        compare(claim, CPU).contenders(), LEAST, num_rounds=5, attempts=5, what=str(claim.task)
    )
