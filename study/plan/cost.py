"""What a run needs of GPUs: memory, hours and money (no torch, no Ray).

Hours are train FLOPs (`paper` convention) over the accelerator's dense bf16 peak times a model
FLOPs utilization (MFU), one number a kind of FFN.
"""

from __future__ import annotations

from dataclasses import dataclass

from study.spec.hardware import HardwareSpec
from workloads.config.phases import Entry
from workloads.config.run import RunConfig
from workloads.cost import flops
from workloads.cost.accelerators import ACCELERATORS
from workloads.cost.memory import least_gpus, peak_memory_bytes, phase_memory

SECONDS_PER_HOUR = 3600.0


def flops_per_second(hardware: HardwareSpec, ffn_kind: str, gpus: int) -> float:
    """Return the training FLOPs (`paper` convention) per second of one point on `gpus` GPUs."""
    peak = ACCELERATORS[hardware.accelerator].peak_flops_per_second
    return gpus * peak * hardware.mfu[ffn_kind]


def gpu_hours(hardware: HardwareSpec, ffn_kind: str, train_flops: float) -> float:
    """Return the hours of one GPU for so many training FLOPs; n GPUs share them evenly."""
    return train_flops / flops_per_second(hardware, ffn_kind, gpus=1) / SECONDS_PER_HOUR


def point_gpu_hours(config: RunConfig, train_flops: float, hardware: HardwareSpec) -> float:
    """Return the hours of one GPU that a run takes: for its FLOPs, or until a clock ends it."""
    if config.clock:
        return hardware.gpus * config.clock.seconds / SECONDS_PER_HOUR
    return gpu_hours(hardware, config.model.ffn.kind, train_flops)


@dataclass(frozen=True)
class Price:
    """Memory, hours and money that one point needs.

    `peak_memory_bytes` is that of each of the planned GPUs. `min_gpus` is the smallest number of
    GPUs of each accelerator that holds the point, None where no number does. `hours` are those on
    one GPU of each accelerator; n GPUs share them evenly. `cost` is the money for the planned
    accelerator, None without a price.
    """

    peak_memory_bytes: int
    min_gpus: dict[str, int | None]
    hours: dict[str, float]
    cost: float | None


def price(config: RunConfig, train_flops: float, hardware: HardwareSpec) -> Price:
    """Return the price of a run on the hardware, and on each other accelerator in its place."""
    hourly = hardware.price_per_gpu_hour
    elsewhere = {name: hardware.model_copy(update={"accelerator": name}) for name in ACCELERATORS}
    hours = {name: point_gpu_hours(config, train_flops, there) for name, there in elsewhere.items()}
    return Price(
        peak_memory_bytes=peak_memory_bytes(config, hardware.gpus),
        min_gpus={name: least_gpus(config, gpu.memory_bytes) for name, gpu in ACCELERATORS.items()},
        hours=hours,
        cost=None if hourly is None else hourly * hours[hardware.accelerator],
    )


@dataclass(frozen=True)
class PhasePrice:
    """What one phase of a run trains and takes: memory of each of the planned GPUs, hours on one of
    them, and the money for these hours, None without a price."""

    entry: Entry | None
    layers: int
    width: int
    params: int
    steps: int
    tokens: int
    train_flops: int
    peak_memory_bytes: int
    hours: float
    cost: float | None


def phase_prices(config: RunConfig, hardware: HardwareSpec) -> list[PhasePrice]:
    """Return the price of each phase of a run; hours and money add up to those of `price`."""
    kind, hourly = config.model.ffn.kind, hardware.price_per_gpu_hour
    found = []
    for phase in config.phases:
        step = flops.phase_step_flops(phase, config.optimizer, config.tokens_per_step)
        hours = gpu_hours(hardware, kind, phase.steps * step)
        found.append(
            PhasePrice(
                entry=phase.entry,
                layers=phase.model.num_layers,
                width=phase.model.hidden_dim,
                params=flops.count_params(phase.model).total,
                steps=phase.steps,
                tokens=phase.steps * config.tokens_per_step,
                train_flops=phase.steps * step,
                peak_memory_bytes=phase_memory(config, phase, hardware.gpus).device_bytes,
                hours=hours,
                cost=None if hourly is None else hourly * hours,
            )
        )
    return found
