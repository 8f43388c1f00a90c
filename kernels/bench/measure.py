"""Measure claims, one after the other, and record each as soon as it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from kernels import gemm, switches
from kernels.bench import ceilings, memory, records
from kernels.bench.claims import Claim
from kernels.bench.records import Conditions
from kernels.bench.sides import Pair, pair
from kernels.timing import CPU_THREADS, time_rounds

MEMORY_ROUNDS = 3


def conditions(device: torch.device, sizes: ceilings.Sizes | None = None) -> Conditions:
    """Set the threads, probe oneDNN afresh, and measure the ceilings."""
    probed = None
    if device.type == "cpu":
        torch.set_num_threads(CPU_THREADS)
        probed = gemm.probe()
    onednn = probed is not None and probed.onednn and switches.fast("gemm")
    with gemm.using(onednn):
        found = ceilings.measure(device, sizes or ceilings.Sizes.of(device))
    return Conditions(device, onednn, probed, found)


def measure(
    claims: Iterable[Claim],
    count: int,
    at: Conditions,
    out: Path,
    show: Callable[[str], object],
    sides_of: Callable[[Claim, torch.device, bool], Pair] = pair,
) -> bool:
    """Measure each claim over `count` rounds and append it to `out`; whether all of them held.

    Those that claim nothing without oneDNN are left out. `sides_of` is told the claim, the device
    and whether oneDNN multiplies.
    """
    held = True
    for claim in claims:
        gate = claim.gate_with(at.onednn)
        if gate is None:
            continue
        flops = None
        if claim.quantity == "bytes":
            samples = memory.weigh(claim, at.device, at.onednn, MEMORY_ROUNDS)
        else:
            sides = sides_of(claim, at.device, at.onednn)
            samples, flops = time_rounds(sides.named(), count, at.device), sides.flops
        record = records.line(claim, gate, samples, flops, at)
        records.append(out, record)
        show(records.shown(record))
        held = held and record["held"]
    return held
