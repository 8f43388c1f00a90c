"""The roofline of this machine: its fastest matrix product and its fastest copy in memory.

Williams, Waterman and Patterson 2009 (doi 10.1145/1498765.1498785) introduced the term.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch

from kernels.bench.ffn import dtype_on
from kernels.timing import time_rounds


@dataclass(frozen=True)
class Sizes:
    """Sizes of the two measurements: rows of the square matrices, bytes of the copy, and rounds."""

    square: int
    copied_bytes: int
    rounds: int = 5

    @classmethod
    def of(cls, device: torch.device) -> Sizes:
        """Return sizes that are large enough to reach the device's peak rates."""
        return cls(8192, 2**30) if device.type == "cuda" else cls(2048, 2**28)


@dataclass(frozen=True)
class Roofline:
    """Peak rates as medians over rounds. The copy counts each byte read and each byte written."""

    gemm_flops_per_second: float
    copy_bytes_per_second: float


def measure(device: torch.device, sizes: Sizes) -> Roofline:
    """Measure both rates in turn, in the dtype of the device's benchmarks."""
    n = sizes.square
    a, b = (torch.randn(n, n, device=device, dtype=dtype_on(device)) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.randn(sizes.copied_bytes // 4, device=device)
    target = torch.empty_like(source)
    samples = time_rounds(
        {
            "gemm": lambda number: torch.mm(a, b, out=product),
            "copy": lambda number: target.copy_(source),
        },
        sizes.rounds,
        device,
    )
    return Roofline(2 * n**3 / median(samples["gemm"]), 2 * source.nbytes / median(samples["copy"]))
