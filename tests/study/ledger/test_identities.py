"""Points find their recorded runs by fingerprint, and new ones get ids beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.ledger.identities import check_identities, recognised
from study.ledger.reader import Record
from study.plan import planner
from study.plan.points import Point
from workloads.errors import InputError


def planned(tmp_path: Path, row: str, extra: str = "") -> Point:
    path = tmp_path / "study.yaml"
    path.write_text(f"study: ids\nmax_total_flops: 1.0e16\npoints: [{row}]\n{extra}\n")
    (point,) = planner.load(path, tmp_path).points
    return point


def ledger(*runs: tuple[str, Point], status: str = "finished") -> dict[str, Record]:
    return {
        point_id: Record(
            "",
            {
                "point_id": point_id,
                "status": status,
                "fingerprint": point.fingerprint,
                "identity": json.dumps(point.identity),
            },
        )
        for point_id, point in runs
    }


def test_one_step_more_than_a_recorded_run_is_another_point(tmp_path: Path) -> None:
    short = planned(tmp_path, "{preset: pico, budget: {steps: 600}}")
    longer = planned(tmp_path, "{preset: pico, budget: {steps: 601}}")
    assert short.id == longer.id  # a file with one of them needs no more
    records = ledger((short.id, short))
    (found,) = recognised([longer], records)
    assert found.id == "pico-dense-c3.63e11-steps601-seed0"
    assert found.fingerprint == longer.fingerprint
    check_identities([found], records)
    # Recorded under either id, both keep theirs.
    both = records | ledger((found.id, longer))
    assert [p.id for p in recognised([short, longer], both)] == [short.id, found.id]
    alone = ledger((found.id, longer))
    assert recognised([longer], alone)[0].id == found.id


def test_a_run_that_was_recorded_with_the_presets_value_written_out_is_found(
    tmp_path: Path,
) -> None:
    plain = planned(tmp_path, "{preset: pico}")
    written = planned(tmp_path, "{preset: pico, batch_size: 16}")
    assert plain.id != written.id
    assert recognised([plain], ledger((written.id, written)))[0].id == written.id
    # Where it was trained under both ids, the run that ended is the point's.
    records = ledger((plain.id, plain), status="interrupted") | ledger((written.id, written))
    assert recognised([plain], records)[0].id == written.id


def test_other_settings_under_the_same_id_are_refused_as_ever(tmp_path: Path) -> None:
    old = planned(tmp_path, "{preset: pico, budget: {steps: 600}}")
    for row, extra in [
        ("{preset: pico, budget: {steps: 600}}", "eval_tokens: 4096"),
        ("{preset: pico, budget: {steps: 601}}", "eval_tokens: 4096"),
    ]:
        point = planned(tmp_path, row, extra)
        records = ledger((old.id, old))
        found = recognised([point], records)
        assert found[0].id == old.id
        with pytest.raises(InputError, match=r"eval_tokens 65536 -> 4096.*; undo the change"):
            check_identities(found, records)
