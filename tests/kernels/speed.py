"""A test of speed that other work on the machine does not disturb."""

from collections.abc import Mapping

import pytest

from kernels.bench.comparison import BASELINE, CANDIDATE
from kernels.timing import Contender, Ratio, time_rounds


def require_speed(
    contenders: Mapping[str, Contender], least: float, num_rounds: int, attempts: int, what: str
) -> None:
    """Fail unless the candidate reaches `least` times the baseline's speed in some attempt.

    Other work disturbs single attempts; what is slower fails every one of them.
    """
    ratios = []
    for _ in range(attempts):
        samples = time_rounds(contenders, num_rounds)
        ratios.append(Ratio.of(samples[BASELINE], samples[CANDIDATE]).median)
        if ratios[-1] >= least:
            return
    pytest.fail(f"{what} reached {ratios} times the speed of its plain formulation")
