"""Measurement of claims, one after the other. Each is recorded as soon as it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from kernels import gemm, switches
from kernels.bench import memory, records, roofline
from kernels.bench.claims import Claim
from kernels.bench.comparison import Comparison
from kernels.bench.records import Conditions
from kernels.timing import CPU_THREADS, time_rounds

MEMORY_ROUNDS = 3


def conditions(device: torch.device) -> Conditions:
    """Set the number of threads, probe oneDNN anew, and measure the roofline."""
    probed = None
    if device.type == "cpu":
        torch.set_num_threads(CPU_THREADS)
        probed = gemm.probe()
    onednn = probed is not None and probed.onednn and switches.fast("gemm")
    with gemm.using(onednn):
        found = roofline.measure(device, roofline.Sizes.of(device))
    return Conditions(device, onednn, probed, found)


def measure(
    claims: Iterable[Claim],
    num_rounds: int,
    at: Conditions,
    out: Path,
    show: Callable[[str], object],
    compare: Callable[[Claim, torch.device, bool], Comparison],
) -> bool:
    """Measure claims and append a record of each to `out`; return whether all were verified.

    A claim that has no threshold without oneDNN is skipped where oneDNN is not chosen.

    Args:
        claims: the claims.
        num_rounds: rounds over which medians are taken.
        at: the conditions of the measurement.
        out: the results file.
        show: receives a line for people after each claim.
        compare: builds the contenders of a claim, given the claim, the device and whether oneDNN
            multiplies.
    """
    all_verified = True
    for claim in claims:
        threshold = claim.threshold_with(at.onednn)
        if threshold is None:
            continue
        flops = None
        if claim.quantity == "bytes":
            samples = memory.measure_rounds(claim, at.device, at.onednn, MEMORY_ROUNDS)
        else:
            comparison = compare(claim, at.device, at.onednn)
            samples = time_rounds(comparison.contenders(), num_rounds, at.device)
            flops = comparison.flops
        record = records.record_of(claim, threshold, samples, flops, at)
        records.append(out, record)
        show(records.summary(record))
        all_verified = all_verified and record["verified"]
    return all_verified
