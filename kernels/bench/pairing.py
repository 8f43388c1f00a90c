"""Timing in turns: several sides within one process, there and back, and the ratios of rounds.

A round times the sides in order and then in reverse (A B B A), so that a slow drift of the machine
hits all of them alike, and gives one ratio of each pair.
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
# A CPU's threads: two on shared cores wait for each other, by more than is to be measured.
CPU_THREADS = 1
# A sample repeats its pass to last about this long.
SAMPLE_SECONDS = 0.002

# One pass; it is told the number of the round, to choose its inputs by.
Side = Callable[[int], object]


@dataclass(frozen=True)
class Ratio:
    """The median over rounds, and the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, above: list[float], below: list[float]) -> Ratio:
        """Of two sides' samples, round by round."""
        each = [a / b for a, b in zip(above, below, strict=True)]
        return cls(median(each), min(each), max(each))

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}-{self.high:.3f})"


def rounds(
    sides: Mapping[str, Side], count: int, device: torch.device = CPU
) -> dict[str, list[float]]:
    """Seconds of one pass of each side, in each of `count` rounds after those that warm up."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    passes = 1
    for number in range(-WARMUP_ROUNDS, count):
        seconds = there_and_back(sides, number, passes, device)
        if number < 0:
            passes = max(1, math.ceil(SAMPLE_SECONDS / max(seconds.values())))
            continue
        for name, value in seconds.items():
            samples[name].append(value)
    return samples


def there_and_back(
    sides: Mapping[str, Side], number: int, passes: int = 1, device: torch.device = CPU
) -> dict[str, float]:
    """Seconds of one pass of each side in one round, the mean over both directions."""
    seconds = dict.fromkeys(sides, 0.0)
    for name in [*sides, *reversed([*sides])]:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(passes):
            sides[name](number)
        synchronize(device)
        seconds[name] += time.perf_counter() - start
    return {name: both / (2 * passes) for name, both in seconds.items()}


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
