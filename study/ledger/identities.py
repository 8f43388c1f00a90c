"""Which recorded run is a point's: the one that has its fingerprint, under whatever id."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from study.ledger.reader import Record
from study.ledger.store import ARTIFACTS
from study.plan.naming import ROUNDED_FIELDS
from study.plan.planner import Study
from study.plan.points import Point
from workloads.config.fingerprint import flatten
from workloads.errors import InputError


def recognised(points: Iterable[Point], records: dict[str, Record]) -> list[Point]:
    """Return the points under the ids that they have in the ledger.

    A recorded point keeps its id. A new one, whose id a recorded run of other steps or another rate
    has by rounding, gets its exact id.
    """
    known: dict[str, list[str]] = defaultdict(list)
    for point_id, record in records.items():
        known[record.tag("fingerprint")].append(point_id)
    told = [_with_recorded_text(point, known, records) for point in points]
    named = [_under(_ledger_id(p, known.get(p.fingerprint, []), records), p) for p in told]
    return [_as_long_as_recorded(point, records.get(point.id)) for point in named]


def _with_recorded_text(
    point: Point, known: Mapping[str, list[str]], records: dict[str, Record]
) -> Point:
    """Return the point with the text that a run of it was recorded with, where its own text is not
    at hand: a report needs no shards."""
    if point.text.at_hand:
        return point
    for record in records.values():
        tree = record.tree("identity") if "identity" in record.tags else {}
        text = point.text.recorded_as(tree)
        if text and (told := replace(point, text=text)).fingerprint in known:
            return told
    return point


def _as_long_as_recorded(point: Point, record: Record | None) -> Point:
    """Return the point with the steps that its run took, where a clock has ended it."""
    if point.config.clock is None or record is None or not record.ended:
        return point
    tokens = record.metrics.get("tokens", 0.0)
    return point.lasted(max(1, round(tokens / point.config.tokens_per_step)))


def check_name(study: Study, records: dict[str, Record]) -> None:
    """Raise InputError for a new study that is named as a folder which all studies share.

    One that is recorded already is read as ever.
    """
    if study.name in (study.data_root.name, ARTIFACTS) and not records:
        raise study.spec.error(
            ("study",), "the runs folder has a folder of this name for all studies; choose another"
        )


def check_identities(points: Iterable[Point], records: dict[str, Record]) -> None:
    """Raise InputError when a point's id is recorded with another meaning, naming what differs."""
    for point in points:
        record = records.get(point.id)
        if record and record.tag("fingerprint") != point.fingerprint:
            changes = (f"{n} {old} -> {new}" for n, old, new in _differences(point, record))
            raise InputError(
                f"{point.id} was recorded with other settings: {', '.join(changes)}; "
                "undo the change, or give the study another name"
            )


def _ledger_id(point: Point, recorded: list[str], records: dict[str, Record]) -> str:
    """Return the point's id in the ledger; `recorded` are those that have its fingerprint."""
    if recorded:  # several, where it was trained twice: the run that came to its end
        return min(recorded, key=lambda i: (not records[i].ended, i != point.id, i))
    record = records.get(point.id)
    if record and {name for name, *_ in _differences(point, record)} <= ROUNDED_FIELDS:
        return point.exact_id
    return point.id


def _under(point_id: str, point: Point) -> Point:
    return point if point_id == point.id else replace(point, given_id=point_id)


def _differences(point: Point, record: Record) -> list[tuple[str, Any, Any]]:
    """Return (field, recorded value, planned value) where the two identities differ."""
    recorded = flatten(record.tree("identity"))
    planned = flatten(json.loads(json.dumps(point.identity)))
    names = sorted(recorded.keys() | planned.keys())
    pairs = ((name, recorded.get(name), planned.get(name)) for name in names)
    return [(name, old, new) for name, old, new in pairs if old != new]
