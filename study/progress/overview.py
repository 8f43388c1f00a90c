"""The state of a study as numbers: what `status` prints, and its JSON.

Everything comes from the plan and the ledger, so it is the same on every machine that reaches the
ledger. Speeds are those of the recorded runs, whatever machine they ran on.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from study.ledger import reader
from study.ledger.reader import Record
from study.ledger.status import ENDED, Status
from study.plan.cost import point_gpu_hours
from study.plan.planner import Study
from study.plan.points import Point
from study.search.pareto import pareto_fronts
from study.search.samples import with_recorded

# A line through fewer points has no residuals, and its slope no interval.
MIN_FITTED = 3
LEVEL = 0.95
# Runs whose FLOPs differ by less than this factor are of one size.
SAME_SIZE = 1e-6


@dataclass(frozen=True)
class ArmFit:
    """The interim fit of one arm: loss is a C^-b (Kaplan et al. 2020, arXiv 2001.08361, eq. 1.3).

    `low` and `high` bound b at `level`, by Student's t for independent errors of equal relative
    size. The report has more: an irreducible loss where there are enough sizes, and comparisons.
    """

    arm: str
    runs: int
    b: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Overview:
    """The state of a study at one moment; `states` is by point id.

    `train_flops` counts the training FLOPs of the steps that are on record, each step once.
    `executed_flops` counts the steps that were repeated after a kill as well.
    """

    study: Study
    records: dict[str, Record]
    states: dict[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """Points by state, the commonest first."""
        return dict(Counter(self.states.values()).most_common())

    @property
    def planned_flops(self) -> int:
        """Training FLOPs of all points."""
        return sum(point.train_flops for point in self.study.points)

    @property
    def train_flops(self) -> float:
        """Training FLOPs of the steps that are on record."""
        return sum(self._done(point) for point in self.study.points)

    @property
    def executed_flops(self) -> float | None:
        """FLOPs of all steps that were computed, also for points that have left the study file;
        None before any run has recorded them."""
        values = [r.metrics.get("executed_flops") for r in self.records.values()]
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    @property
    def train_hours(self) -> float:
        """Hours in training loops, summed over points."""
        return sum(r.metrics.get("train_seconds", 0.0) for r in self.records.values()) / 3600

    @property
    def planned_hours(self) -> float | None:
        """Hours in training loops of the whole plan: those taken, and the rest at recorded speeds;
        None without a recorded speed."""
        if not self._rates:
            return None
        return self.train_hours + sum(map(self._seconds_left, self.study.points)) / 3600

    @property
    def gpu_hours(self) -> float:
        """GPU-hours that training loops have taken."""
        return self.study.gpus_per_point * self.train_hours

    @property
    def planned_gpu_hours(self) -> float | None:
        """GPU-hours of the plan on the hardware that the study states; None where it states
        none."""
        if self.study.spec.value.hardware is None:
            return None
        hardware = self.study.hardware
        return sum(
            point_gpu_hours(point.config, point.train_flops, hardware)
            for point in self.study.points
        )

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the last point ends; None when nothing is running.

        It assumes recorded speeds, and as many points side by side as are running now.
        """
        running = [p for p in self.study.points if self.states[p.id] == Status.RUNNING]
        if not running or not self._rates:
            return None
        total = sum(map(self._seconds_left, self.study.points))
        return max(total / len(running), *map(self._seconds_left, running))

    def cost(self, gpu_hours: float | None) -> float | None:
        """Return the money for so many GPU-hours at the study's price; None without a price."""
        price = self.study.hardware.price_per_gpu_hour
        return None if price is None or gpu_hours is None else price * gpu_hours

    @property
    def complete(self) -> bool:
        """True when no point is left that a run would train."""
        return all(state in ENDED for state in self.states.values())

    def fits(self) -> list[ArmFit]:
        """Return the line through each arm's finished points, where they give its slope an
        interval."""
        runs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for point in self.study.points:
            if self.states[point.id] == Status.FINISHED:
                loss = self.records[point.id].metric("val_loss")
                runs[point.variant.arm_name()].append((point.train_flops, loss))
        enough = {arm: found for arm, found in runs.items() if len(found) >= MIN_FITTED}
        return [fit for arm, found in enough.items() if (fit := _fit(arm, found))]

    def as_json(self) -> dict[str, Any]:
        """Return the overview for machines; hours and seconds are null where they are not
        known."""
        return {
            "study": self.study.name,
            "points": [self._point_json(point) for point in self.study.points],
            "counts": self.counts,
            "train_flops": self.train_flops,
            "executed_flops": self.executed_flops,
            "planned_flops": self.planned_flops,
            "max_total_flops": self.study.spec.value.max_total_flops,
            "train_hours": self.train_hours,
            "planned_hours": self.planned_hours,
            "gpu_hours": self.gpu_hours,
            "planned_gpu_hours": self.planned_gpu_hours,
            "cost": self.cost(self.gpu_hours),
            "planned_cost": self.cost(self.planned_gpu_hours),
            "eta_seconds": self.eta_seconds,
            "fronts": [
                front.as_json(self.records) for front in pareto_fronts(self.study, self.records)
            ],
            "fits": [asdict(fit) for fit in self.fits()],
        }

    def _point_json(self, point: Point) -> dict[str, Any]:
        record = self.records.get(point.id, Record(""))
        return {
            "id": point.id,
            "state": self.states[point.id],
            "cause": record.tags.get("failure", ""),
            "planned_flops": point.train_flops,
            "metrics": record.metrics,
        }

    def _done(self, point: Point) -> float:
        record = self.records.get(point.id)
        return record.metrics.get("train_flops", 0.0) if record else 0.0

    def _seconds_left(self, point: Point) -> float:
        if self.states[point.id] in ENDED | {Status.FAILED}:
            return 0.0
        if clock := point.config.clock:
            record = self.records.get(point.id, Record(""))
            return max(0.0, 1 - point.share_done(record.metrics)) * clock.seconds
        return (point.train_flops - self._done(point)) / self._rate(point)

    def _rate(self, point: Point) -> float:
        """Return the training FLOPs per second of a point: its preset's median, else that of
        all."""
        known = self._rates.get(point.variant.preset)
        return known or statistics.median(self._rates.values())

    @cached_property
    def _rates(self) -> dict[str, float]:
        """Median training FLOPs per second of each preset's recorded runs."""
        rates: dict[str, list[float]] = defaultdict(list)
        for point in self.study.points:
            record = self.records.get(point.id)
            seconds = record.metrics.get("train_seconds", 0.0) if record else 0.0
            if seconds and self._done(point):
                rates[point.variant.preset].append(self._done(point) / seconds)
        return {preset: statistics.median(values) for preset, values in rates.items()}


def summarize(study: Study, records: dict[str, Record]) -> Overview:
    """Return the state of the study that the records give, samples of a search included."""
    study = with_recorded(study, records)
    return Overview(study, records, reader.states(study, records))


def _fit(arm: str, runs: list[tuple[float, float]]) -> ArmFit | None:
    """Fit log loss to log C by least squares; None where all runs are of one size."""
    # Their import takes most of a second: only studies with something to fit pay for it.
    import numpy as np
    from scipy.stats import t as student_t

    x, y = np.log(runs).T
    x = x - x.mean()
    if np.ptp(x) < SAME_SIZE:
        return None
    slope = float(x @ y / (x @ x))
    residuals = y - y.mean() - slope * x
    error = np.sqrt(residuals @ residuals / (len(runs) - 2) / (x @ x))
    half = float(student_t.ppf((1 + LEVEL) / 2, len(runs) - 2) * error)
    return ArmFit(arm, len(runs), -slope, -slope - half, -slope + half, LEVEL)
