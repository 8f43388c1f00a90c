"""Paired timing: contenders are timed in turn within one process, and compared round by round.

A round times the contenders in order and then in reverse order (A B B A). A slow drift of the
machine's speed therefore affects all contenders alike, and the ratio of two contenders within one
round is free of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

CPU = torch.device("cpu")
WARMUP_ROUNDS = 2
# CPU benchmarks use one thread: threads on shared cores wait for each other, and the waiting would
# exceed the differences to be measured.
CPU_THREADS = 1
# Seconds that one sample lasts at least: shorter passes are repeated.
SAMPLE_SECONDS = 0.002

# Runs one pass. Its argument is the number of the round, by which it chooses its inputs.
Contender = Callable[[int], object]


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all rounds, with the smallest and the largest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerators: list[float], denominators: list[float]) -> Ratio:
        """Divide the samples of two contenders round by round."""
        ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}-{self.high:.3f})"


def time_rounds(
    contenders: Mapping[str, Contender], num_rounds: int, device: torch.device = CPU
) -> dict[str, list[float]]:
    """Return the seconds of one pass of each contender in each of `num_rounds` rounds.

    Warm-up rounds, numbered from -2, run first. They are not part of the result.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    num_passes = 1
    for number in range(-WARMUP_ROUNDS, num_rounds):
        seconds = time_round(contenders, number, num_passes, device)
        if number < 0:
            num_passes = max(1, math.ceil(SAMPLE_SECONDS / max(seconds.values())))
            continue
        for name, value in seconds.items():
            samples[name].append(value)
    return samples


def time_round(
    contenders: Mapping[str, Contender],
    number: int,
    num_passes: int = 1,
    device: torch.device = CPU,
) -> dict[str, float]:
    """Return the mean seconds of one pass of each contender in one round.

    Each contender runs `num_passes` passes in either direction of the round.
    """
    seconds = dict.fromkeys(contenders, 0.0)
    for name in [*contenders, *reversed([*contenders])]:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(num_passes):
            contenders[name](number)
        synchronize(device)
        seconds[name] += time.perf_counter() - start
    return {name: both / (2 * num_passes) for name, both in seconds.items()}


def synchronize(device: torch.device) -> None:
    """Wait until a CUDA device has finished its queued work; return at once on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
