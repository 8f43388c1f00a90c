"""Measurement of claims, one after the other. Each is recorded as soon as it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from kernels.bench import memory, records, roofline
from kernels.bench.claims import Claim
from kernels.bench.comparison import Comparison
from kernels.bench.records import Conditions
from kernels.timing import CPU_THREADS, time_rounds

MEMORY_ROUNDS = 3


def conditions(device: torch.device) -> Conditions:
    """Set the number of threads, and measure the roofline."""
    if device.type == "cpu":
        torch.set_num_threads(CPU_THREADS)
    return Conditions(device, roofline.measure(device, roofline.Sizes.of(device)))


def measure(
    claims: Iterable[Claim],
    num_rounds: int,
    at: Conditions,
    out: Path,
    show: Callable[[str], object],
    compare: Callable[[Claim, torch.device], Comparison],
) -> bool:
    """Measure claims and append a record of each to `out`; return whether all were verified.

    Args:
        claims: the claims.
        num_rounds: rounds over which medians are taken.
        at: the conditions of the measurement.
        out: the results file.
        show: receives a line for people after each claim.
        compare: builds the contenders of a claim on a device.
    """
    all_verified = True
    for claim in claims:
        flops = None
        if claim.quantity == "bytes":
            samples = memory.measure_rounds(claim, at.device, MEMORY_ROUNDS)
        else:
            comparison = compare(claim, at.device)
            samples = time_rounds(comparison.contenders(), num_rounds, at.device)
            flops = comparison.flops
        record = records.record_of(claim, samples, flops, at)
        records.append(out, record)
        show(records.summary(record))
        all_verified = all_verified and record["verified"]
    return all_verified
