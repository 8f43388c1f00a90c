"""What this machine can do at best: a large matrix product, and a copy in memory."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch

from kernels.bench.ffn import dtype_on
from kernels.timing import time_rounds


@dataclass(frozen=True)
class Sizes:
    """Rows and columns of the square product, bytes of the copy, and rounds of both."""

    square: int
    copied_bytes: int
    rounds: int = 5

    @classmethod
    def of(cls, device: torch.device) -> Sizes:
        """Those large enough for the device's best."""
        return cls(8192, 2**30) if device.type == "cuda" else cls(2048, 2**28)


@dataclass(frozen=True)
class Ceilings:
    """Medians; the copy counts each byte read and each written."""

    gemm_flops_per_second: float
    copy_bytes_per_second: float


def measure(device: torch.device, sizes: Sizes) -> Ceilings:
    """Both in turns, in the type and by the library that the device is measured with."""
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
    return Ceilings(2 * n**3 / median(samples["gemm"]), 2 * source.nbytes / median(samples["copy"]))
