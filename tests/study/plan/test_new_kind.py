"""An FFN kind that is added as one row: studies name it, exclude it and search its size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.study.launching import ROOT

# The row of a kind with a size of its own name, there before any configuration is defined. The
# second kind is not linear, and so cannot be guided.
WITH_NEW_KINDS = """\
from pydantic import PositiveInt
from workloads.config import ffn_kinds
from workloads.config.ffn_kinds import FFN_KINDS, SIZES, FFNKind, Size, with_sizes

SIZES["order"] = Size("o", "Diagonals of the matrix.", within_sides=True)
row = dict(
    projection="nowhere:Projection",
    weights=lambda n, m, sizes: m * sizes["order"],
    inner=lambda n, m, sizes: 0,
    sizes={"order": SIZES["order"]},
)
merge = lambda n, m, sizes: m * sizes["order"]
FFN_KINDS["band"] = FFNKind(**row, merge=merge, fraction_size="order")
FFN_KINDS["curved"] = FFNKind(**row)
ffn_kinds.SizedFFN = with_sizes(PositiveInt)(ffn_kinds.SizedFFN)

from study.__main__ import main
main()
"""


def plan(tmp_path: Path, text: str) -> dict[str, Any]:
    spec = tmp_path / "study.yaml"
    spec.write_text("study: grown\nmax_total_flops: 1.0e13\n" + text)
    done = subprocess.run(
        [sys.executable, "-c", WITH_NEW_KINDS, "plan", str(spec), "--json", "--runs", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_size_is_in_ids_columns_and_excluded_combinations(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        """\
grid:
  preset: [pico]
  ffn: [{}, {kind: band, order: 8}, {kind: band, fraction: 0.5}, {kind: curved, order: 8}]
  guide: [null, {ratio: 0.5}]
exclude: [{ffn: {order: 8}, guide: {ratio: 0.5}}]
budget: {steps: 20}
""",
    )
    named = {point["id"].rsplit("-c", 1)[0]: point for point in found["points"]}
    assert [*named] == [
        "pico-dense",
        "pico-band-o8",
        "pico-band-o24",
        "pico-band-o24-guided0.5",
        "pico-curved-o8",
    ]
    assert named["pico-dense"]["ffn_order"] is None
    assert named["pico-band-o24"]["ffn_order"] == named["pico-band-o24"]["ffn"]["order"] == 24
    assert {point["ffn_rank"] for point in found["points"]} == {None}
    assert [item["point"] for item in found["dropped"]] == [
        "pico dense guided 0.5 seed0",
        "pico curved o8 guided 0.5 seed0",
        "pico band o8 guided 0.5 seed0",
    ]


def test_its_size_is_a_dimension_of_a_search(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        """\
grid: {preset: [pico], ffn: [{kind: band}, {kind: lowrank, rank: 8}]}
search: {order: {integers: [4, 16, 4]}, trials: 3}
budget: {steps: 20}
""",
    )
    assert [point["ffn"]["kind"] for point in found["points"]] == ["lowrank"]
    assert found["totals"]["max_search_flops"] > 0
