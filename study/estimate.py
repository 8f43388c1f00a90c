"""How long points take on this machine: from finished runs here, else from a short probe."""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from study.ledger import Record
from study.plan import Point
from study.spec import Resources
from workloads.hardware import cpu_name

# The nine models of the quick start trained at 64 GFLOP/s a core where this probe reached 130
# (two cores of an Intel Xeon with AVX-512, one thread a model).
PROBE_UTILIZATION = 0.5
PROBE_SECONDS = 0.15


def point_seconds(
    points: list[Point], records: dict[str, Record], resources: Resources
) -> tuple[dict[str, float], str]:
    """(seconds by point id, what they rest on), for this machine."""
    rates = _measured_rates(points, records)
    if rates:
        typical = statistics.median(rates.values())
        seconds = {p.id: p.train_flops / rates.get(p.variant.preset, typical) for p in points}
        return seconds, "the training speed of this study's finished runs on this machine"
    rate = _probe_flops_per_second(resources)
    basis = f"a {PROBE_SECONDS} s matrix product here, at {PROBE_UTILIZATION:.0%} of its speed"
    return {point.id: point.train_flops / rate for point in points}, basis


def slots(resources: Resources) -> int:
    """How many points this machine's CPUs train at the same time, at least one."""
    return max(1, (os.cpu_count() or 1) // point_cpus(resources))


def point_cpus(resources: Resources) -> int:
    """CPUs that one point occupies."""
    return max(1, resources.num_workers) * resources.cpus_per_worker


def _measured_rates(points: list[Point], records: dict[str, Record]) -> dict[str, float]:
    """Median training FLOPs per second of each preset's runs that finished here."""
    here, rates = cpu_name(), {}
    for point in points:
        record = records.get(point.id)
        if record and record.status == "finished" and record.tags.get("hardware") == here:
            rate = point.train_flops / record.metrics["train_seconds"]
            rates.setdefault(point.variant.preset, []).append(rate)
    return {preset: statistics.median(values) for preset, values in rates.items()}


def _probe_flops_per_second(resources: Resources) -> float:
    """FLOPs per second expected of one point's share of the CPUs, from a matrix product."""
    a = np.ones((512, 512), dtype=np.float32)
    out = a @ a
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + PROBE_SECONDS:
        np.matmul(a, a, out=out)
        count += 1
    rate = count * 2 * 512**3 / (time.perf_counter() - start)
    share = min(1.0, point_cpus(resources) / (os.cpu_count() or 1))
    return PROBE_UTILIZATION * rate * share
