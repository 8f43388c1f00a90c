"""spec -> combinations: the product of the grid, then the rows, less what is excluded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from study.plan.naming import describe
from study.spec.study_file import StudySpec
from workloads.recipes.variant import Variant
from workloads.schema.strict_yaml import Loaded, Location

MOST_COMBINATIONS = 100_000


@dataclass(frozen=True)
class Combination:
    """A variant, and the place in the study file that an error about it names.

    A combination that the grid or `isoflop` has made is `droppable`: where it turns out to be no
    run, it is dropped with the reason. A row that stands for one run is an error then.
    """

    location: Location
    variant: Variant
    droppable: bool

    def place(self, spec: Loaded[StudySpec], fields: Iterable[Location]) -> Location:
        """Return where the file gives the first of these fields of the combination that it gives;
        the combination's own place where it gives none."""
        places = (where for field in fields for where in self._places(spec.value, field))
        return spec.first_written(places, self.location)

    def _places(self, study: StudySpec, field: Location) -> Iterator[Location]:
        """Yield the places where the field may stand, the combination's own ones first."""
        name, *rest = field
        if self.location[0] != "grid":
            yield (*self.location, *field)
        elif name == "ffn":
            yield (*self.location, *rest)
            yield ("search", *rest)
        else:
            listed, own = (getattr(part, str(name), None) for part in (study.grid, self.variant))
            index = [listed.index(own)] if isinstance(listed, tuple) and own in listed else []
            yield ("grid", name, *index, *rest)
        yield field


@dataclass(frozen=True)
class Dropped:
    """A combination that is not a point, in words, and why."""

    point: str
    reason: str


def combinations(spec: Loaded[StudySpec]) -> tuple[list[Combination], list[Dropped]]:
    """Return the combinations to plan, in the order of the file, and those that are dropped
    before that.

    Raises InputError when a list of the grid has a value twice, its combinations are too many to
    plan, or a row of `exclude` matches nothing.
    """
    _check_lists(spec)
    found = [*_grid(spec.value), *_rows(spec.value)]
    written = [item for item in found if isinstance(item, Combination)]
    for index, row in enumerate(spec.value.exclude):
        row.check_matches_one(spec, ("exclude", index), [item.variant for item in written])
    kept, dropped = [], [item for item in found if isinstance(item, Dropped)]
    for item in written:
        rows = [i for i, row in enumerate(spec.value.exclude) if row.matches(item.variant)]
        if rows:
            dropped.append(Dropped(describe(item.variant), f"exclude[{rows[0]}] matches it"))
        else:
            kept += _at_each_budget(item, spec.value)
    return kept, dropped


def _check_lists(spec: Loaded[StudySpec]) -> None:
    """Raise InputError where a list of the grid has a value twice, or the lists multiply to more
    than can be planned."""
    lists = {n: values for n, values in spec.value.grid or () if isinstance(values, tuple)}
    if (count := math.prod(map(len, lists.values()))) > MOST_COMBINATIONS:
        raise spec.error(
            ("grid",),
            f"{count:,} combinations are too many to plan, at most {MOST_COMBINATIONS:,}; shorten "
            "a list",
        )
    for name, values in lists.items():
        seen = set[str]()  # of what is written, because a mixture has no hash
        for index, value in enumerate(values):
            # A mixture is the same one in any order of its names.
            written = repr(sorted(value.items()) if isinstance(value, dict) else value)
            if written in seen:
                message = "stands in the list already; remove one of the two"
                raise spec.error(("grid", name, index), message)
            seen.add(written)


def _grid(spec: StudySpec) -> Iterator[Combination | Dropped]:
    if (grid := spec.grid) is None:
        return
    for values in itertools.product(
        grid.preset,
        grid.width,
        enumerate(grid.ffn),
        grid.guide,
        grid.grow,
        grid.learning_rate or [None],
        grid.batch_size or [None],
        grid.mixture or [None],
        grid.optimizer or [None],
        itertools.product(grid.recipe, grid.seed),
    ):
        preset, width, (index, ffn), guide, grow, rate, batch, mixture, optimizer, last = values
        recipe, seed = last
        variant = Variant(
            preset=preset,
            model=grid.model,
            width=width,
            ffn=ffn,
            guide=guide,
            grow=grow,
            learning_rate=rate,
            batch_size=batch,
            mixture=mixture,
            optimizer=optimizer,
            recipe=recipe,
            seed=seed,
        )
        if ffn.row.mergeable and guide and grow:
            yield Dropped(describe(variant), "a run is guided or grows, and not both")
        elif ffn.row.mergeable:
            yield Combination(("grid", "ffn", index), variant, droppable=True)
        elif guide == grid.guide[0]:
            unguided = variant.model_copy(update={"guide": None})
            yield Combination(("grid", "ffn", index), unguided, droppable=True)
        else:
            reason = f"a {ffn.kind} FFN has nothing to guide: it stands once"
            yield Dropped(describe(variant), reason)


def _rows(spec: StudySpec) -> Iterator[Combination]:
    for index, row in enumerate(spec.points):
        yield Combination(("points", index), row, droppable=False)


def _at_each_budget(item: Combination, spec: StudySpec) -> Iterator[Combination]:
    """Yield the combination once, or once for each of the budgets that `isoflop` lists."""
    budget = item.variant.budget or spec.budget
    if budget is None or budget.isoflop is None:
        yield item
        return
    for flops in budget.isoflop:
        one = {"budget": budget.model_copy(update={"isoflop": (flops,)})}
        yield Combination(item.location, item.variant.model_copy(update=one), droppable=True)
