"""What a run takes of GPUs: memory, hours and money (no torch, no Ray).

Hours are train FLOPs (`paper` convention) over the accelerator's dense bf16 peak times a model
FLOPs utilization (MFU), one number a kind of FFN. The default utilizations are those of the seven
published times of arXiv 2406.16450, table 1 (transformer-xl on A100 80 GB): of each kind the
geometric mean over its models, which gives every published time back within 6%.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeFloat, PositiveInt

from workloads.config.ffn_kinds import PARAMETRIZATIONS, FFNKind
from workloads.config.run import RunConfig
from workloads.cost.accelerators import PEAK_FLOPS_PER_SECOND
from workloads.cost.memory import least_gpus, peak_memory_bytes
from workloads.schema.base import Config

PAPER_MFU = {"dense": 0.531, "lowrank": 0.465, "blockdense": 0.456, "blockshuffle": 0.425}
PAPER_MFU_SOURCE = "from the published times of arXiv 2406.16450"
# A kind without a published time gets the lowest of them.
DEFAULT_MFU = dict.fromkeys(PARAMETRIZATIONS, min(PAPER_MFU.values())) | PAPER_MFU
SECONDS_PER_HOUR = 3600.0


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
        close = difflib.get_close_matches(name.lower(), ACCELERATORS, n=1, cutoff=0.0)
        nearest = (longer or close)[0]
        raise ValueError(
            f"no such accelerator; the nearest is {nearest} (of {', '.join(ACCELERATORS)})"
        )
    return name


def _of_every_kind(given: Any) -> Any:
    """One number stands for all kinds; kinds left out of a mapping have the default."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return dict.fromkeys(PARAMETRIZATIONS, given)
    if not isinstance(given, dict):
        raise ValueError("this is a number, or a number for each FFN kind; write 0.4, say")
    return DEFAULT_MFU | given


Utilization = Annotated[float, Field(gt=0, le=1)]
AcceleratorName = Annotated[str, AfterValidator(_known_accelerator)]
UtilizationByKind = Annotated[
    dict[FFNKind, Utilization],
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
    """Of the price."""


def flops_per_second(hardware: HardwareSpec, ffn_kind: str, gpus: int) -> float:
    """Training FLOPs (`paper` convention) per second of one point on `gpus` of the hardware."""
    peak = ACCELERATORS[hardware.accelerator].peak_flops_per_second
    return gpus * peak * hardware.mfu[ffn_kind]


def gpu_hours(hardware: HardwareSpec, ffn_kind: str, train_flops: float) -> float:
    """Hours of one GPU for that many training FLOPs; n GPUs share them evenly."""
    return train_flops / flops_per_second(hardware, ffn_kind, gpus=1) / SECONDS_PER_HOUR


@dataclass(frozen=True)
class Price:
    """What one point takes.

    `peak_memory_bytes` is of each of the planned GPUs. By accelerator: the fewest GPUs that hold
    the point, None where no number does, and its hours on one GPU, which n share evenly. `cost`
    is of the planned accelerator's, None without a price.
    """

    peak_memory_bytes: int
    min_gpus: dict[str, int | None]
    hours: dict[str, float]
    cost: float | None


def price(config: RunConfig, train_flops: float, hardware: HardwareSpec) -> Price:
    """The price of a run on the hardware, and on each other accelerator in its place."""
    kind, hourly = config.model.ffn.kind, hardware.price_per_gpu_hour
    elsewhere = {name: hardware.model_copy(update={"accelerator": name}) for name in ACCELERATORS}
    hours = {name: gpu_hours(there, kind, train_flops) for name, there in elsewhere.items()}
    return Price(
        peak_memory_bytes=peak_memory_bytes(config, hardware.gpus),
        min_gpus={name: least_gpus(config, gpu.memory_bytes) for name, gpu in ACCELERATORS.items()},
        hours=hours,
        cost=None if hourly is None else hourly * hours[hardware.accelerator],
    )
