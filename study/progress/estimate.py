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
from study.spec.study_file import Resources

# From the command to the first step, and from the last one to the report, on an idle machine.
LAUNCH_SECONDS = 12.0


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
    seconds = {p.id: _flops(p) / threads / _calibrated(p, rates) for p in points}
    low, high = (bound(rates.values()) / 1e9 for bound in (min, max))
    basis = (
        f"a calibration of this CPU without other load: {low:.0f} to {high:.0f} GFLOP/s a thread, "
        f"by the size of the model, and {threads} thread{'s' if threads > 1 else ''} a point"
    )
    return seconds | _clocked(points), basis


def _clocked(points: list[Point]) -> dict[str, float]:
    """Return the seconds of the points that a clock ends, with the evaluations that it does not
    count."""
    return {
        p.id: clock.seconds * (_flops(p) / p.train_flops if clock.counts == "training" else 1.0)
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
    it has slots, the longest first. `seconds` is by point id, for whole points."""
    ends = [0.0] * slots(resources)
    left = (seconds[p.id] * _share_left(p, records.get(p.id)) for p in points)
    for each in sorted(left, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + each)
    return max(ends)


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


def _flops(point: Point) -> float:
    """Return the FLOPs of training and evaluating a point; evaluating a token takes a third of
    training on it."""
    run = point.config
    evaluations = -(-run.total_steps // run.runtime.eval_interval)
    evaluated = evaluations * point.text.evaluated_tokens(run.eval_tokens)
    return point.train_flops * (1 + evaluated / 3 / (run.total_steps * run.tokens_per_step))


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
