"""Peak memory of a claim's contenders, measured in fresh processes."""

import sys

import pytest
import torch

from kernels.bench import memory
from kernels.bench.claims import Claim, LossTask
from kernels.bench.comparison import BASELINE, CANDIDATE


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_loss_takes_a_quarter_of_the_memory_of_all_logits() -> None:
    task = LossTask(tokens=1024, width=64, vocabulary=32_000)
    claim = Claim("loss", "cpu", task, "logits", 1.0, "bytes")
    samples = memory.measure_rounds(claim, torch.device("cpu"), num_rounds=1)
    logits = 4 * task.tokens * task.vocabulary
    assert samples[BASELINE][0] > 2 * logits  # The logits and their gradients.
    assert samples[CANDIDATE][0] <= 0.25 * samples[BASELINE][0]
