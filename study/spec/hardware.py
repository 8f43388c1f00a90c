"""The GPUs that a study is planned for: their speed, their memory, and how well each FFN kind uses
them.

The default utilizations are those of the seven published times of arXiv 2406.16450, table 1
(transformer-xl on A100 80 GB): of each kind the geometric mean over its models, which gives every
published time back within 6%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeFloat, PositiveInt

from kernels.nearest import nearest_name
from workloads.config.ffn_kinds import FFN_KINDS, FFNKindName
from workloads.cost.accelerators import PEAK_FLOPS_PER_SECOND
from workloads.schema.base import Config

PAPER_MFU = {"dense": 0.531, "lowrank": 0.465, "blockdense": 0.456, "blockshuffle": 0.425}


PAPER_MFU_SOURCE = "from the published times of arXiv 2406.16450"


# A kind without a published time gets the lowest of them.
DEFAULT_MFU = dict.fromkeys(FFN_KINDS, min(PAPER_MFU.values())) | PAPER_MFU


@dataclass(frozen=True)
class Accelerator:
    """A GPU model: dense bf16 FLOPs per second at its peak, and memory in bytes.

    Memory is what the data sheet sells, in powers of ten. Devices hold about 6% more, and that is
    left to what no model of tensors counts: the CUDA context, NCCL, and fragmentation.
    """

    peak_flops_per_second: float
    memory_bytes: float


# NVIDIA's data sheets (SXM modules).
ACCELERATORS = {
    "a100-80g": Accelerator(PEAK_FLOPS_PER_SECOND["A100"], 80e9),
    "h100": Accelerator(PEAK_FLOPS_PER_SECOND["H100"], 80e9),
    "h200": Accelerator(PEAK_FLOPS_PER_SECOND["H200"], 141e9),
}


DEFAULT_ACCELERATOR = "a100-80g"


def _known_accelerator(name: str) -> str:
    if name not in ACCELERATORS:
        longer = [known for known in ACCELERATORS if known.startswith(name.lower())]
        close = longer[0] if longer else nearest_name(name, ACCELERATORS)
        raise ValueError(
            f"no such accelerator; the nearest is {close} (of {', '.join(ACCELERATORS)})"
        )
    return name


def _of_every_kind(given: Any) -> Any:
    """Return a number for every kind: one for all of them, or the default where a mapping leaves
    a kind out."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        if not 0 < given <= 1:
            raise ValueError("must be greater than 0 and at most 1; write 0.4, say")
        return dict.fromkeys(FFN_KINDS, given)
    if not isinstance(given, dict):
        raise ValueError("this is a number, or a number for each FFN kind; write 0.4, say")
    return DEFAULT_MFU | given


Utilization = Annotated[float, Field(gt=0, le=1)]


AcceleratorName = Annotated[str, AfterValidator(_known_accelerator)]


UtilizationByKind = Annotated[
    dict[FFNKindName, Utilization],
    BeforeValidator(_of_every_kind, json_schema_input_type=Utilization | dict[str, Utilization]),
]


class HardwareSpec(Config):
    """The GPUs that hours, money and `wall_seconds` budgets are planned for."""

    accelerator: AcceleratorName
    """a100-80g, h100 or h200."""
    gpus: PositiveInt = 1
    """GPUs that one point trains on."""
    mfu: UtilizationByKind = DEFAULT_MFU
    """Model FLOPs utilization, one number or one for each FFN kind; kinds left out have that of
    arXiv 2406.16450's published times."""
    price_per_gpu_hour: NonNegativeFloat | None = None
    """What a GPU costs an hour; left out, no cost is planned."""
    currency: str = "USD"
    """Currency of the price."""
