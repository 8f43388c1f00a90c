"""Peak memory of the contenders of a claim, beyond their inputs."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from kernels.bench.claims import Claim
from kernels.bench.comparison import BASELINE, CANDIDATE, compare
from kernels.timing import CPU_THREADS, synchronize

KIBIBYTE = 1024


def measure_rounds(claim: Claim, device: torch.device, num_rounds: int) -> dict[str, list[float]]:
    """Return the peak bytes of both contenders in each round.

    On CUDA they are the bytes of tensors. On a CPU they are those of a fresh process, because
    memory that an earlier pass has left would hide what the next pass needs.
    """
    samples: dict[str, list[float]] = {CANDIDATE: [], BASELINE: []}
    for _ in range(num_rounds):
        for name, found in samples.items():
            if device.type == "cuda":
                found.append(_peak_on_cuda(claim, device, name))
                continue
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                found.append(pool.submit(_peak_of_process, claim, name).result())
    return samples


def _peak_on_cuda(claim: Claim, device: torch.device, name: str) -> float:
    run = compare(claim, device).contenders()[name]
    run(0)  # The first call compiles kernels and allocates workspaces that stay.
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run(1)
    synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before)


def _peak_of_process(claim: Claim, name: str) -> float:
    torch.set_num_threads(CPU_THREADS)
    run = compare(claim, torch.device("cpu")).contenders()[name]
    before = _process_bytes("VmRSS")
    run(0)
    return float(_process_bytes("VmHWM") - before)


def _process_bytes(field: str) -> int:
    """Return this process's resident bytes: now (`VmRSS`) or at their peak (`VmHWM`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * KIBIBYTE
    raise ValueError(f"/proc/self/status has no {field}: memory is measured on Linux alone")
