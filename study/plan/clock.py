"""What is expected of a run that a clock ends: as many steps as its machine takes in the time.

Expected steps plan FLOPs, tokens and passes. They are no part of the run, which takes the steps
that fit, nor of its identity: another machine plans the same points.
"""

from __future__ import annotations

import os

from study.plan import cpu_speed
from study.plan.cost import flops_per_second
from study.spec.hardware import HardwareSpec
from study.spec.study_file import StudySpec
from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.cost.accelerators import DEFAULT_ACCELERATOR
from workloads.cost.flops import train_flops_at

# Of one thread, where there is no torch to measure this CPU with.
GUESSED_FLOPS_PER_SECOND = 2.0e10


def planned_hardware(study: StudySpec) -> HardwareSpec:
    """Return the stated hardware; without, A100s, as many as the resources give a point."""
    gpus = max(1, study.resources.gpus_per_point)
    return study.hardware or HardwareSpec(accelerator=DEFAULT_ACCELERATOR, gpus=gpus)


def expected_of(run: RunConfig, study: StudySpec) -> RunConfig:
    """Return the run with the steps that are expected of it, where a clock ends it."""
    if run.clock is None:
        return run
    step = train_flops_at(run, 1)
    if _on_gpus(study):
        hardware = planned_hardware(study)
        rate = flops_per_second(hardware, run.model.ffn.kind, hardware.gpus)
    else:
        rate = _cpu_rate(run.model, study)
    return run.lasting(max(1, int(run.clock.seconds * rate / step)))


def basis(study: StudySpec) -> str:
    """Return in words what the expected steps rest on."""
    if _on_gpus(study):
        hardware = planned_hardware(study)
        return f"{hardware.gpus} x {hardware.accelerator} at the MFU below"
    if cpu_speed.cpu_rates():
        return "the speed of this CPU without other load"
    return f"a guess of {GUESSED_FLOPS_PER_SECOND:.0e} FLOP/s a thread"


def _on_gpus(study: StudySpec) -> bool:
    return study.hardware is not None or study.resources.gpus_per_point > 0


def _cpu_rate(model: ModelConfig, study: StudySpec) -> float:
    """Return the training FLOPs per second of a point on this machine's CPUs."""
    rates, resources = cpu_speed.cpu_rates(), study.resources
    threads = max(1, resources.num_workers) * resources.cpus_per_worker
    rate = cpu_speed.rate_for(model, rates) if rates else GUESSED_FLOPS_PER_SECOND
    return rate * min(threads, os.cpu_count() or 1)
