"""The most memory that a side of a claim takes beyond its inputs."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from kernels.bench.claims import Claim
from kernels.bench.sides import BASELINE, SUBJECT, pair
from kernels.timing import CPU_THREADS, synchronize

KIBIBYTE = 1024


def weigh(claim: Claim, device: torch.device, onednn: bool, count: int) -> dict[str, list[float]]:
    """Bytes of each side, `count` times: of tensors on a CUDA device, of a fresh process on a CPU,
    where memory that an earlier pass left would hide what the next one needs."""
    samples: dict[str, list[float]] = {SUBJECT: [], BASELINE: []}
    for _ in range(count):
        for side, found in samples.items():
            if device.type == "cuda":
                found.append(_of_tensors(claim, device, side))
                continue
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                found.append(pool.submit(_of_process, claim, side, onednn).result())
    return samples


def _of_tensors(claim: Claim, device: torch.device, side: str) -> float:
    run = pair(claim, device, onednn=False).named()[side]
    run(0)  # What is compiled or set up on the first call stays.
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    run(1)
    synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - held)


def _of_process(claim: Claim, side: str, onednn: bool) -> float:
    torch.set_num_threads(CPU_THREADS)
    run = pair(claim, torch.device("cpu"), onednn).named()[side]
    held = _status("VmRSS")
    run(0)
    return float(_status("VmHWM") - held)


def _status(field: str) -> int:
    """Bytes that the system counts for this process: resident now, or at the most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * KIBIBYTE
    raise ValueError(f"/proc/self/status has no {field}: memory is measured on Linux alone")
