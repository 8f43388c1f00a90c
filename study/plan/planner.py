"""spec -> points: what the study will run, each with an id, a fingerprint and its cost.

Pure functions of the study file and the text it trains on; no torch and no Ray.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from study.plan.combinations import Combination, Dropped, combinations
from study.plan.cost import Price, flops_per_second, gpu_hours, price
from study.plan.naming import describe, require_name, variant_tag
from study.plan.points import Point, Text
from study.plan.texts import Texts, find_texts
from study.spec.hardware import HardwareSpec
from study.spec.search import MOST_VALUES, FloatRange, IntRange, with_sample
from study.spec.study_file import StudySpec
from study.spec.study_file import load as load_spec
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost.accelerators import DEFAULT_ACCELERATOR
from workloads.cost.fit import HOST_OVERHEAD_BYTES, Hardware, fitted
from workloads.errors import InputError, Misfit
from workloads.optim.kinds import completed
from workloads.recipes.budget import Budget, Unreachable
from workloads.recipes.recipe import Recipe
from workloads.recipes.variant import Variant
from workloads.schema.rounding import rounded_up
from workloads.schema.strict_yaml import Loaded, Location, blamed, reason


@dataclass(frozen=True)
class SearchSpace:
    """A combination that a search completes: its open dimensions, and what its samples may cost.

    `max_train_flops` is the most that all `trials` samples together can need, `max_passes` the most
    passes over the training text that one can make.
    """

    combination: Combination
    dimensions: dict[str, FloatRange | IntRange]
    trials: int
    max_train_flops: int
    max_passes: float

    @property
    def variant(self) -> Variant:
        """The combination, without the values of a sample."""
        return self.combination.variant


@dataclass(frozen=True)
class Study:
    """A planned study and its places on disk. `points` has no samples of a search that are not
    recorded yet."""

    spec: Loaded[StudySpec]
    points: list[Point]
    dropped: list[Dropped]
    runs_dir: Path
    texts: Texts
    searched: list[SearchSpace] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.spec.value.study

    @property
    def directory(self) -> Path:
        """The study's own folder, absolute."""
        return (self.runs_dir / self.name).resolve()

    @property
    def points_dir(self) -> Path:
        """The directories of all points, by id."""
        return self.directory / "points"

    def run_dir(self, point: Point) -> Path:
        """Return the directory of the point's run."""
        return self.points_dir / point.id

    @property
    def data_root(self) -> Path:
        """The folder of all prepared texts."""
        return data_root(self.runs_dir)

    @property
    def largest_flops_error(self) -> float | None:
        """The largest relative difference of a point's FLOPs from its target; None where no point
        has a target."""
        pairs = [(p.train_flops, p.target_flops) for p in self.points if p.target_flops]
        return max((abs(planned / target - 1) for planned, target in pairs), default=None)

    @property
    def hardware(self) -> HardwareSpec:
        """The stated hardware; without, A100s, as many as the resources give a point."""
        gpus = max(1, self.gpus_per_point)
        stated = self.spec.value.hardware
        return stated or HardwareSpec(accelerator=DEFAULT_ACCELERATOR, gpus=gpus)

    @property
    def gpus_per_point(self) -> int:
        """GPUs that one point occupies while it trains."""
        return self.spec.value.resources.gpus_per_point

    def gpu_hours(self, train_seconds: Iterable[float]) -> float:
        """Return the GPU-hours that points have taken which have trained for so long each."""
        return self.gpus_per_point * sum(train_seconds) / 3600

    def price(self, point: Point) -> Price:
        """Return what the point takes on the study's hardware."""
        return price(point.config, point.train_flops, self.hardware)


def load(path: Path, runs_dir: Path) -> Study:
    """Read and plan a study file. Raises InputError for a mistake in it."""
    spec = load_spec(path)
    texts = find_texts(spec, data_root(runs_dir))
    found, dropped = combinations(spec)
    given = [item for item in found if not _open_dimensions(spec.value, item)]
    planned, unreachable = plan_points(spec, given, texts)
    searched = [
        plan_search(spec, item, texts) for item in found if _open_dimensions(spec.value, item)
    ]
    dropped += unreachable
    if not planned and not searched:
        raise spec.error((), f"no point is left: {dropped[0].point}: {dropped[0].reason}")
    _check_total(spec, planned, searched)
    _check_gpu_hours(spec, planned, searched)
    return Study(spec, planned, dropped, runs_dir, texts, searched)


def data_root(runs_dir: Path) -> Path:
    """Return the folder of all prepared texts."""
    return runs_dir / "data"


def plan_points(
    spec: Loaded[StudySpec], found: list[Combination], texts: Texts
) -> tuple[list[Point], list[Dropped]]:
    """Return the points of a study, in the order of the file, and the combinations that are none.

    A combination that writes out what another has from its preset is the same run: it is dropped.
    Raises InputError when parts do not fit together, or a run stands there twice as it is or in two
    arms.
    """
    dropped: list[Dropped] = []
    planned: dict[str, Point] = {}
    for item in found:
        point = plan_point(spec, item, texts)
        if isinstance(point, Dropped):
            dropped.append(point)
        elif (same := planned.setdefault(point.fingerprint, point)) is not point:
            if _written_twice(same, point) or not _same_arm(same.variant, item.variant):
                message = f"{same.id} is in the study already; remove one of the two"
                raise spec.error(item.location, message)
            dropped.append(Dropped(describe(item.variant), f"the same run as {same.id}"))
    return _told_apart([*planned.values()]), dropped


def _written_twice(a: Point, b: Point) -> bool:
    return a.short_id == b.short_id and variant_tag(a.variant) == variant_tag(b.variant)


def _same_arm(a: Variant, b: Variant) -> bool:
    """Return whether two variants of one run may stand in a study: at its base, every transfer rule
    gives the run that `fixed` does."""
    return a.arm_name() == b.arm_name() or (
        a.unruled_arm() == b.unruled_arm() and a.recipe != b.recipe
    )


def _told_apart(points: list[Point]) -> list[Point]:
    """Return the points, those that share a short id with their exact ids."""
    holders = Counter(point.short_id for point in points)
    return [
        point if holders[point.short_id] == 1 else replace(point, given_id=point.exact_id)
        for point in points
    ]


def plan_search(spec: Loaded[StudySpec], item: Combination, texts: Texts) -> SearchSpace:
    """Plan the samples of a combination ahead. Raises InputError where a sample is no run."""
    dimensions, search = _open_dimensions(spec.value, item), spec.value.search
    assert search is not None
    highest_flops, most_passes = 0, 0.0
    planned = [each.planned_values() for each in dimensions.values()]
    if (count := math.prod(map(len, planned))) > MOST_VALUES:
        raise spec.error(
            ("search",),
            f"{count:,} values of {' and '.join(dimensions)} are too many to plan each of them, at "
            f"most {MOST_VALUES:,}; narrow a range",
        )
    for values in itertools.product(*planned):
        try:
            variant = with_sample(item.variant, dict(zip(dimensions, values, strict=True)))
        except ValueError as error:
            raise _error(spec, item, error, ("ffn",)) from error
        point = plan_point(spec, replace(item, variant=variant), texts)
        if isinstance(point, Dropped):
            raise spec.error(item.location, f"{point.point}: {point.reason}")
        highest_flops = max(highest_flops, point.train_flops)
        most_passes = max(most_passes, point.passes or 0.0)
    max_train_flops = search.trials * highest_flops
    return SearchSpace(item, dimensions, search.trials, max_train_flops, most_passes)


def _open_dimensions(spec: StudySpec, item: Combination) -> dict[str, FloatRange | IntRange]:
    """Return what the combination leaves to the search; rows leave nothing."""
    if spec.search is None or item.location[0] != "grid":
        return {}
    return spec.search.dimensions_of(item.variant)


def plan_point(spec: Loaded[StudySpec], item: Combination, texts: Texts) -> Point | Dropped:
    """Return the combination as a point, or why there is no such run.

    All that training would refuse is refused here. Raises InputError when parts do not fit
    together, or when a row of `points` is no run.
    """
    variant, study = item.variant, spec.value
    try:
        own = variant.optimizer
        common: dict[str, Any] = {
            "budget": _budget(variant, study),
            "optimizer": completed(own, study.optimizer) if own else study.optimizer,
        }
        recipe = Recipe(
            **dict(variant.model_copy(update=common)),
            data=study.data,
            eval_sets=study.eval_sets,
            eval_tokens=study.eval_tokens,
            runtime=study.runtime,
        )
        run, choice = recipe.resolved()
        text = texts.of(run.data)
        _require_texts(run, text)
        run, next_runtime = _fitted(run, study)
        run.require_micro_batch(max(1, study.resources.num_workers))
        point = Point(
            variant,
            run,
            text,
            recipe.target_flops,
            next_runtime=next_runtime,
            rule_cautions=choice.cautions,
        )
        require_name(point.short_id)
        return point
    except Unreachable as error:
        if item.droppable:
            return Dropped(describe(variant), str(error))
        raise _error(spec, item, error) from error
    except ValueError as error:
        raise _error(spec, item, error) from error


def _require_texts(run: RunConfig, text: Text) -> None:
    """Raise Misfit where the model cannot read a text whose size is known."""
    for name, source in text.sources.items():
        if source.found.size:
            place = f"data.sources.{name}" if name else "data"
            run.require_text(source.found.size, source.found.row_tokens, name=place)
    for name, found in text.eval_sets.items():
        if found.size:
            run.require_text(found.size, found.row_tokens, ("val",), f"eval_sets.{name}")


def _fitted(run: RunConfig, study: StudySpec) -> tuple[RunConfig, RuntimeConfig | None]:
    """Return the run with the settings that fit the study's hardware, and those to try next, where
    the file has them chosen."""
    if run.runtime.fit is None:
        return run, None
    if study.hardware is None:
        raise Misfit(
            "fit chooses for the study's hardware; add hardware: {accelerator: h100, "
            "host_memory_gb: 128}",
            "runtime.fit",
        )
    host = study.hardware.host_memory_gb
    gpus = study.hardware.gpus
    host_bytes = HOST_OVERHEAD_BYTES * gpus if host is None else host * 1e9
    return fitted(run, Hardware(study.hardware.accelerator, host_bytes, gpus))


def _budget(variant: Variant, study: StudySpec) -> Budget | None:
    """Return the point's budget; seconds as the FLOPs that the study's hardware computes in
    them."""
    budget = variant.budget or study.budget
    if budget is None or budget.wall_seconds is None:
        return budget
    if study.hardware is None:
        raise Misfit(
            "wall_seconds are seconds on the study's hardware; add hardware: {accelerator: h100}",
            "budget.wall_seconds",
        )
    kind = "dense" if variant.matches_dense or budget.match_flops_of else variant.ffn.kind
    rate = flops_per_second(study.hardware, kind, study.hardware.gpus)
    spent = {"wall_seconds": None, "train_flops": budget.wall_seconds * rate}
    return budget.model_copy(update=spent)


def _error(
    spec: Loaded[StudySpec], item: Combination, error: ValueError, part: Location = ()
) -> InputError:
    """Return the error of a combination, or of a part of it, at the place of what it blames."""
    message = f"with preset {item.variant.preset}: {reason(error)}"
    fields = [(*part, *field) for field in blamed(error)]
    return spec.error(item.place(spec, fields), message)


def _check_total(
    spec: Loaded[StudySpec], planned: list[Point], searched: list[SearchSpace]
) -> None:
    total = sum(point.train_flops for point in planned)
    total += sum(space.max_train_flops for space in searched)
    if total > spec.value.max_total_flops:
        samples = sum(space.trials for space in searched)
        searching = f" and the search's {samples} samples" if samples else ""
        raise spec.error(
            ("max_total_flops",),
            f"the {len(planned)} points{searching} need {rounded_up(total, 4):.4g} training FLOPs; "
            f"raise it to that or remove {'points or trials' if samples else 'points'}",
        )


def _check_gpu_hours(
    spec: Loaded[StudySpec], planned: list[Point], searched: list[SearchSpace]
) -> None:
    cap, hardware = spec.value.max_gpu_hours, spec.value.hardware
    if cap is None:
        return
    if hardware is None:
        raise spec.error(
            ("max_gpu_hours",),
            "hours are planned for stated hardware; add hardware: {accelerator: a100-80g}",
        )
    work = [(point.config.model.ffn.kind, point.train_flops) for point in planned]
    work += [(space.variant.ffn.kind, space.max_train_flops) for space in searched]
    total = sum(gpu_hours(hardware, kind, train_flops) for kind, train_flops in work)
    if total > cap:
        raise spec.error(
            ("max_gpu_hours",),
            f"the study needs {math.ceil(total)} GPU-hours of {hardware.accelerator} as planned; "
            "raise it to that or remove points",
        )
