"""Accelerators: speed and memory from their data sheets, and how well each FFN kind uses them.

The default utilizations are those of the seven published times of arXiv 2406.16450, table 1
(transformer-xl on A100 80 GB): of each kind the geometric mean over its models, which gives every
published time back within 6%.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.nearest import nearest_name
from workloads.config.ffn_kinds import FFN_KINDS

# Dense bf16 FLOPs per second of one device, by what its name contains (NVIDIA's data sheets).
# The first match counts, so the longer name comes first.
PEAK_FLOPS_PER_SECOND = {
    "A100": 312e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "GB200": 2500e12,
    "B200": 2250e12,
}
PAPER_MFU = {"dense": 0.531, "lowrank": 0.465, "blockdense": 0.456, "blockshuffle": 0.425}
PAPER_MFU_SOURCE = "from the published times of arXiv 2406.16450"
# A kind without a published time gets the lowest of them.
DEFAULT_MFU = dict.fromkeys(FFN_KINDS, min(PAPER_MFU.values())) | PAPER_MFU


@dataclass(frozen=True)
class Accelerator:
    """A GPU model: dense bf16 FLOPs per second at its peak, memory in bytes, and bytes per second
    of its link to CPU memory, in one direction.

    Memory is what the data sheet sells, in powers of ten. Devices hold about 6% more, and that is
    left to what no model of tensors counts: the CUDA context, NCCL, and fragmentation.
    """

    peak_flops_per_second: float
    memory_bytes: float
    link_bytes_per_second: float


# NVIDIA's data sheets (SXM modules); links are PCIe of 16 lanes, of generation 4 and 5.
ACCELERATORS = {
    "a100-80g": Accelerator(PEAK_FLOPS_PER_SECOND["A100"], 80e9, 32e9),
    "h100": Accelerator(PEAK_FLOPS_PER_SECOND["H100"], 80e9, 64e9),
    "h200": Accelerator(PEAK_FLOPS_PER_SECOND["H200"], 141e9, 64e9),
}
DEFAULT_ACCELERATOR = "a100-80g"


def known_accelerator(name: str) -> str:
    """Return the name of an accelerator. Raises ValueError, with the nearest, where it is none."""
    if name not in ACCELERATORS:
        longer = [known for known in ACCELERATORS if known.startswith(name.lower())]
        close = longer[0] if longer else nearest_name(name, ACCELERATORS)
        raise ValueError(
            f"no such accelerator; the nearest is {close} (of {', '.join(ACCELERATORS)})"
        )
    return name
