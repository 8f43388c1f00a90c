"""Claims that are measured in no time, and records of them."""

import json
from pathlib import Path
from typing import Any

from kernels.bench.claims import Claim, FFNTask, LossTask
from kernels.bench.ffn import Layer
from kernels.machine import source_hash

LAYER = Layer("blockshuffle", 32, 0.3125)
CLAIMS = (
    Claim("a/plain", "cpu", FFNTask(LAYER, 8), "plain", 1e-9),
    Claim("a/dense", "cpu", FFNTask(LAYER, 8), "dense", 1e9),
    Claim("a/peak", "cpu", FFNTask(LAYER, 8), "dense", 1e-9, least_of_peak=1e9),
    Claim("b", "cpu", LossTask(8, 16, 40), "logits", 1e-9),
    Claim("a/plain", "cuda", FFNTask(LAYER, 8), "plain", 2.5),
)


def record(name: str, **changes: Any) -> dict[str, Any]:
    """Make a record as `bench` writes it, of the kernels as they are."""
    return {
        "claim": name,
        "device": "cpu",
        "threshold": 1e-9,
        "least_of_peak": None,
        "ratio": {"median": 1.5, "low": 1.25, "high": 1.75},
        "verified": True,
        "source": source_hash(),
        "hardware": "a machine",
        "threads": 1,
        "kernel_path": "gemm=mkl",
        "roofline": {"gemm_flops_per_second": 1e11, "copy_bytes_per_second": 1e10},
        "versions": {"torch": "2"},
        "time": "2026-01-01T00:00:00+00:00",
        "fraction_of_gemm_peak": 0.5,
    } | changes


def write(path: Path, *records: dict[str, Any]) -> None:
    """Write a results file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
