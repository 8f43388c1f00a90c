"""The time that points take on this machine: from finished runs here, else a calibration."""

from __future__ import annotations

import os
import statistics

from kernels.machine import cpu_name
from study.ledger.reader import Record
from study.ledger.status import Status
from study.plan import cpu_speed
from study.plan.planner import Point
from study.spec.study_file import Resources


def point_seconds(
    points: list[Point], records: dict[str, Record], resources: Resources
) -> tuple[dict[str, float], str]:
    """Return (seconds by point id, the basis of the estimate in words) for this machine's CPUs.

    The seconds are empty where the speed of the CPUs is not known.
    """
    rates = _measured_rates(points, records)
    if rates:
        typical = statistics.median(rates.values())
        seconds = {p.id: p.train_flops / rates.get(p.variant.preset, typical) for p in points}
        return seconds, "the training speed of this study's finished runs on this machine"
    rates = cpu_speed.cpu_rates()
    if not rates:
        return {}, "nothing: torch is not here to measure this CPU with"
    threads = min(point_cpus(resources), os.cpu_count() or 1)
    seconds = {p.id: p.train_flops / threads / _calibrated(p, rates) for p in points}
    low, high = (bound(rates.values()) / 1e9 for bound in (min, max))
    basis = (
        f"a calibration of this CPU, quiet: {low:.0f} to {high:.0f} GFLOP/s a thread by model "
        f"size, {threads} at work on a point"
    )
    return seconds, basis


def slots(resources: Resources) -> int:
    """Return how many points this machine's CPUs train at the same time, at least one."""
    return max(1, (os.cpu_count() or 1) // point_cpus(resources))


def point_cpus(resources: Resources) -> int:
    """Return the number of CPUs that one point occupies."""
    return max(1, resources.num_workers) * resources.cpus_per_worker


def _calibrated(point: Point, rates: cpu_speed.Rates) -> float:
    tokens = point.config.total_steps * point.config.tokens_per_step
    return cpu_speed.rate_for(point.train_flops / tokens, rates)


def _measured_rates(points: list[Point], records: dict[str, Record]) -> dict[str, float]:
    """Return the median training FLOPs per second of each preset's runs that finished here."""
    here, rates = cpu_name(), {}
    for point in points:
        record = records.get(point.id)
        if record and record.status == Status.FINISHED and record.tags.get("hardware") == here:
            rate = point.train_flops / record.metric("train_seconds")
            rates.setdefault(point.variant.preset, []).append(rate)
    return {preset: statistics.median(values) for preset, values in rates.items()}
