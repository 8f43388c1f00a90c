"""Samples of a search as points: recognised in the ledger by the variant that their runs carry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from study.ledger.identities import recognised
from study.ledger.reader import Record
from study.plan.naming import variant_tag
from study.plan.planner import Point, SearchSpace, Study, plan_point
from study.spec.search import FloatRange, IntRange, with_sample
from workloads.recipes.variant import Variant

DIGITS = 3  # of a sampled real value, so that ids stay readable


def point_of(study: Study, space: SearchSpace, sample: Mapping[str, float]) -> Point | None:
    """Return the point of a sample; None where whole steps cannot spend its target of FLOPs."""
    rounded = {name: _rounded(space.dimensions[name], value) for name, value in sample.items()}
    return _point(study, space, with_sample(space.variant, rounded))


def with_recorded(study: Study, records: dict[str, Record]) -> Study:
    """Return the study as the ledger has it: recorded points under their recorded ids, and the
    recorded samples of a search among its points."""
    points = {point.id: point for point in recognised(study.points, records)}
    for space in study.searched:
        for point in recorded(study, space, records):
            points.setdefault(point.id, point)
    return replace(study, points=list(points.values()))


def recorded(study: Study, space: SearchSpace, records: dict[str, Record]) -> Iterator[Point]:
    """Yield the samples of a search space that have a run with the study's present settings."""
    wanted = _outside_dimensions(json.loads(variant_tag(space.variant)), space)
    for point_id, record in records.items():
        given = record.tree("variant") if "variant" in record.tags else None
        if given is None or _outside_dimensions(given, space) != wanted:
            continue
        point = _point(study, space, Variant.model_validate_json(record.tag("variant")))
        if point and point.fingerprint == record.tag("fingerprint"):
            yield replace(point, given_id=point_id)


def _outside_dimensions(tree: dict[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Return a variant's tree without the dimensions that the search samples."""
    ffn = {k: v for k, v in tree.get("ffn", {}).items() if k not in space.dimensions}
    return {k: v for k, v in tree.items() if k not in space.dimensions} | {"ffn": ffn}


def _point(study: Study, space: SearchSpace, variant: Variant) -> Point | None:
    combination = replace(space.combination, variant=variant)
    point = plan_point(study.spec, combination, study.texts)
    return point if isinstance(point, Point) else None


def _rounded(dimension: FloatRange | IntRange, value: float) -> float:
    if isinstance(dimension, FloatRange) and dimension.choice is None:
        return float(f"{value:.{DIGITS}g}")
    return value
