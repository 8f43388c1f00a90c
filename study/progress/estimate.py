"""The time that points take on this machine: from finished runs here, else a calibration."""

from __future__ import annotations

import heapq
import os
import statistics
from collections.abc import Iterable, Mapping

from kernels.machine import cpu_name
from study.ledger.reader import Record
from study.ledger.status import Status
from study.plan import cpu_speed
from study.plan.planner import Point
from study.plan.points import evaluation_flops, evaluation_share
from study.spec.study_file import Resources
from workloads.cost import flops

# From the command to the first step, and from the last one to the report, on an idle machine.
LAUNCH_SECONDS = 18.0
# Of a point beside its steps and evaluations: its trial, its checkpoints, its records.
POINT_SECONDS = 1.0


def point_seconds(
    points: list[Point], records: dict[str, Record], resources: Resources
) -> tuple[dict[str, float], str]:
    """Return (seconds by point id, the basis of the estimate in words) for this machine's CPUs.

    A point's evaluations are included. The seconds are empty where the speed of the CPUs is not
    known.
    """
    rates = _measured_rates(points, records)
    if rates:
        typical = statistics.median(rates.values())
        seconds = {p.id: p.train_flops / rates.get(p.variant.preset, typical) for p in points}
        basis = "the training speed of this study's finished runs on this machine"
        return seconds | _clocked(points), basis
    rates = cpu_speed.cpu_rates()
    if not rates:
        return {}, "nothing: torch is not here to measure this CPU with"
    threads = min(point_cpus(resources), os.cpu_count() or 1)
    seconds = {p.id: _calibrated_seconds(p, rates) / threads for p in points}
    low, high = (bound(rates.values()) / 1e9 for bound in (min, max))
    basis = (
        f"a calibration of this CPU, all of it at work: {low:.0f} to {high:.0f} GFLOP/s a thread, "
        f"by the size of the model, and {threads} thread{'s' if threads > 1 else ''} a point"
    )
    return seconds | _clocked(points), basis


def _clocked(points: list[Point]) -> dict[str, float]:
    """Return the seconds of the points that a clock ends, with the evaluations that it does not
    count."""
    return {
        p.id: clock.seconds * (1.0 + (evaluation_share(p) if clock.counts == "training" else 0.0))
        for p in points
        if (clock := p.config.clock)
    }


def wall_seconds(
    points: Iterable[Point],
    records: Mapping[str, Record],
    seconds: Mapping[str, float],
    resources: Resources,
) -> float:
    """Return how long this machine takes for the points that have not ended, as many at a time as
    it has slots, the longest first, from the command to the report. `seconds` is by point id, for
    whole points."""
    left = [seconds[p.id] * share for p in points if (share := _share_left(p, records.get(p.id)))]
    if not left:
        return 0.0
    ends = [0.0] * slots(resources)
    for each in sorted(left, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + POINT_SECONDS + each)
    return LAUNCH_SECONDS + max(ends)


def crowding(load: float, resources: Resources) -> float:
    """Return how many times longer points take beside other work, of `load` threads, than on an
    idle machine."""
    wanted = slots(resources) * point_cpus(resources)
    return max(1.0, (load + wanted) / (os.cpu_count() or 1))


def _share_left(point: Point, record: Record | None) -> float:
    """Return the part of the point's budget that no recorded step has spent."""
    if record is None:
        return 1.0
    return 0.0 if record.ended else max(0.0, 1 - point.share_done(record.metrics))


def slots(resources: Resources) -> int:
    """Return how many points this machine's CPUs train at the same time, at least one."""
    return max(1, (os.cpu_count() or 1) // point_cpus(resources))


def point_cpus(resources: Resources) -> int:
    """Return the number of CPUs that one point occupies."""
    return max(1, resources.num_workers) * resources.cpus_per_worker


def _calibrated_seconds(point: Point, rates: cpu_speed.Rates) -> float:
    """Return the seconds in which one thread trains and evaluates a point, each phase at the rate
    of its own model."""
    run, seconds = point.config, 0.0
    for phase in run.phases:
        step = flops.phase_step_flops(phase, run.optimizer, run.tokens_per_step)
        spent = phase.steps * step + evaluation_flops(point, phase)
        seconds += spent / cpu_speed.rate_for(phase.model, rates)
    return seconds


def _measured_rates(points: list[Point], records: dict[str, Record]) -> dict[str, float]:
    """Return the median training FLOPs per second of each preset's runs that finished here."""
    here, rates = cpu_name(), {}
    for point in points:
        record = records.get(point.id)
        if record and record.status == Status.FINISHED and record.tags.get("hardware") == here:
            rate = point.train_flops / record.metric("train_seconds")
            rates.setdefault(point.variant.preset, []).append(rate)
    return {preset: statistics.median(values) for preset, values in rates.items()}
