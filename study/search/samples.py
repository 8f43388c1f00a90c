"""Samples of a search as points: recognised in the ledger by the variant that their runs carry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from study.ledger.reader import Record
from study.plan.naming import variant_tag
from study.plan.planner import Open, Point, Study, plan_point
from study.spec.search import Reals, with_values
from workloads.recipes.variant import Variant

DIGITS = 3  # of a sampled real value, so that ids stay readable


def point_of(study: Study, item: Open, sample: Mapping[str, float]) -> Point | None:
    """The point of a sample; None where whole steps cannot spend the FLOPs asked for."""
    values = {name: _rounded(item.dimensions[name], value) for name, value in sample.items()}
    return _point(study, item, with_values(item.item.variant, values))


def with_recorded(study: Study, records: dict[str, Record]) -> Study:
    """The study with the samples that the ledger holds among its points."""
    points = {point.id: point for point in study.points}
    for item in study.searched:
        for point in recorded(study, item, records):
            points.setdefault(point.id, point)
    return replace(study, points=list(points.values()))


def recorded(study: Study, item: Open, records: dict[str, Record]) -> Iterator[Point]:
    """The samples of an open combination that have a run with the study's present settings."""
    wanted = _closed(variant_tag(item.item.variant), item)
    for record in records.values():
        given = record.tags.get("variant")
        if given is None or _closed(given, item) != wanted:
            continue
        point = _point(study, item, Variant.model_validate_json(given))
        if point and point.fingerprint == record.tags["fingerprint"]:
            yield point


def _closed(given: str, item: Open) -> dict[str, Any]:
    """A tagged variant without the dimensions that the combination leaves open."""
    tree = json.loads(given)
    ffn = {k: v for k, v in tree.pop("ffn", {}).items() if k not in item.dimensions}
    return {k: v for k, v in tree.items() if k not in item.dimensions} | {"ffn": ffn}


def _point(study: Study, item: Open, variant: Variant) -> Point | None:
    combination = replace(item.item, variant=variant)
    point = plan_point(study.spec, combination, item.data_fingerprint)
    return point if isinstance(point, Point) else None


def _rounded(dimension: Any, value: float) -> float:
    if isinstance(dimension, Reals) and dimension.choice is None:
        return float(f"{value:.{DIGITS}g}")
    return value
