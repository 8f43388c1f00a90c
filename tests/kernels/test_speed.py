"""No operation is slower than its plain formulation, at small sizes, on the CPU that runs this."""

from dataclasses import replace

import pytest
import torch

from kernels.bench.claims import Claim, FFNTask, LossTask, of_kernels
from kernels.bench.comparison import BASELINE, CANDIDATE, compare
from kernels.bench.ffn import Layer
from kernels.timing import Ratio, time_rounds

CPU = torch.device("cpu")
# Other work on the machine disturbs single attempts; what is slower fails every one of them.
ATTEMPTS = 5
LEAST = 0.95


def small(claim: Claim) -> Claim:
    """Return the claim at the size of the smallest models, where fixed costs count most."""
    task = claim.task
    if isinstance(task, FFNTask):
        task = replace(task, layer=Layer(task.layer.kind, 64, 0.3125), tokens=1024)
    elif isinstance(task, LossTask):
        task = LossTask(tokens=1024, width=64, vocabulary=257)
    return replace(claim, task=task)


SMALL = {
    small(claim).task: small(claim)
    for claim in of_kernels("cpu")
    if claim.quantity == "seconds" and claim.baseline != "dense"
}


@pytest.mark.parametrize("claim", SMALL.values(), ids=lambda claim: claim.name)
def test_no_operation_is_slower_than_its_plain_formulation(claim: Claim) -> None:
    torch.set_num_threads(1)
    contenders = compare(claim, CPU).contenders()
    ratios = []
    for _ in range(ATTEMPTS):
        samples = time_rounds(contenders, num_rounds=5)
        ratios.append(Ratio.of(samples[BASELINE], samples[CANDIDATE]).median)
        if ratios[-1] >= LEAST:
            return
    pytest.fail(f"{claim.task} reached {ratios} times the speed of its plain formulation")
