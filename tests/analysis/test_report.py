"""The report as its readers see it: honest sentences, inert text, the same bytes twice."""

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report import write_report
from analysis.runs import RunTableError, load_csv

Row = Callable[..., dict[str, Any]]
Ladder = Callable[..., pd.DataFrame]
FILES = {"runs.csv", "fits.json", "scaling.png", "scaling.svg", "report.md", "report.html"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_writes_what_it_says(ladder: Ladder, row: Row, tmp_path: Path) -> None:
    planned = row("xl", status="missing", run_id=None, val_loss=None)
    runs = pd.concat([ladder(), pd.DataFrame([planned])])
    report = write_report(runs, tmp_path / "new" / "out", "Known")
    files = contents(report.out_dir)
    assert set(files) == FILES
    assert (report.n_used, report.n_excluded) == (6, 1)
    assert len(load_csv(report.out_dir / "runs.csv")) == 7

    fits = json.loads(files["fits.json"])
    assert [arm["arm"] for arm in fits["arms"]] == ["dense", "lowrank 31.25%"]
    assert fits["arms"][0]["point_ids"] == ["s-dense", "m-dense", "l-dense"]
    assert fits["arms"][0]["b"] == pytest.approx(0.05, abs=0.01)
    low, high = fits["arms"][0]["b_interval"]
    assert low < 0.05 < high
    provenance = fits["provenance"]
    assert provenance["runs_csv_sha256"] == hashlib.sha256(files["runs.csv"]).hexdigest()
    assert len(provenance["run_ids"]) == 6
    assert {"numpy", "scipy", "pandas"} <= set(provenance["versions"])
    assert fits["options"] == {"E": 0.0, "resamples": 4000, "level": 0.95, "seed": 0}

    for page in (files["report.md"].decode(), files["report.html"].decode()):
        for text in (*report.headlines, "nats/token", "bits/byte", "xl-dense", "planned, no run"):
            assert text.replace("'", "&#39;") in page or text in page


def test_same_table_same_bytes(ladder: Ladder, tmp_path: Path) -> None:
    runs = ladder()
    write_report(runs, tmp_path / "a", "Known")
    write_report(runs.sample(frac=1, random_state=1), tmp_path / "b", "Known")
    write_report(load_csv(tmp_path / "a" / "runs.csv"), tmp_path / "c", "Known")
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")


def test_overlapping_intervals_do_not_rank(ladder: Ladder, tmp_path: Path) -> None:
    report = write_report(ladder(b=(0.05, 0.06)), tmp_path, "Known")
    for headline in report.headlines:
        assert "overlap, too wide to rank" in headline
        assert "from 3 sizes (1 residual degree of freedom)" in headline
        assert "steep" not in headline


def test_disjoint_intervals_rank(ladder: Ladder, tmp_path: Path) -> None:
    runs = ladder(b=(0.05, 0.09), noise=(1e-5, -2e-5, 1e-5))
    dense, lowrank = write_report(runs, tmp_path, "Known").headlines
    assert "less steep than lowrank 31.25% (the intervals do not overlap)" in dense
    assert "steeper than dense (the intervals do not overlap)" in lowrank


def test_interval_around_zero_claims_nothing(ladder: Ladder, tmp_path: Path) -> None:
    runs = ladder(noise=(0.05, -0.1, 0.05))
    assert "includes 0" in write_report(runs, tmp_path, "Known").headlines[0]


def test_rising_loss_is_called_rising(ladder: Ladder, tmp_path: Path) -> None:
    headline = write_report(ladder(b=(-0.05, 0.05)), tmp_path, "Known").headlines[0]
    assert headline.startswith("dense: loss rises as C^0.05")


def test_exact_runs_are_not_taken_for_precision(ladder: Ladder, tmp_path: Path) -> None:
    for headline in write_report(ladder(noise=(0.0, 0.0, 0.0)), tmp_path, "Known").headlines:
        assert "on the line to rounding" in headline
        assert "steep" not in headline


@pytest.mark.parametrize("sizes", [["s"], ["s", "m"]])
def test_few_runs_are_reported_as_few(ladder: Ladder, sizes: list[str], tmp_path: Path) -> None:
    runs = ladder()
    report = write_report(runs.loc[runs["preset"].isin(sizes)], tmp_path, "Known")
    assert set(contents(tmp_path)) == FILES
    word = "nothing" if len(sizes) == 1 else "a point estimate only"
    assert all(word in headline for headline in report.headlines)
    for arm in json.loads((tmp_path / "fits.json").read_text())["arms"]:
        assert arm["b_interval"] is None
        assert (arm["b"] is None) == (len(sizes) == 1)


@pytest.mark.parametrize("rows", [0, 2])
def test_no_finished_run(row: Row, rows: int, tmp_path: Path) -> None:
    runs = pd.DataFrame([row(size, status="running") for size in "sm"]).head(rows)
    report = write_report(runs, tmp_path, "Known")
    assert set(contents(tmp_path)) == FILES
    assert "nothing to fit" in report.headlines[0]
    assert report.headlines[0] in (tmp_path / "report.html").read_text()
    assert len(load_csv(tmp_path / "runs.csv")) == rows


def test_absent_values_are_dashes(row: Row, tmp_path: Path) -> None:
    bare = row(bits_per_byte=None, params=math.nan, preset=None)
    page = (write_report(pd.DataFrame([bare]), tmp_path, "Known").out_dir / "report.md").read_text()
    assert "| dense | – | 2.5000 | – | – | 72,000 |" in page


class Tags(HTMLParser):
    """Collects the tags of a page and what its attributes load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


HOSTILE = "<script>alert(1)</script>|`$\\frac{$ ](http://x) *b*\n# h -->"


def test_hostile_text_is_inert(row: Row, tmp_path: Path) -> None:
    rows = [
        row(HOSTILE, HOSTILE, commit=HOSTILE),
        row("m", HOSTILE, status=HOSTILE, train_flops=1e13),
        row("l", "_underscored", flop_convention="paper"),
    ]
    write_report(pd.DataFrame(rows), tmp_path, HOSTILE)

    parser = Tags()
    parser.feed((tmp_path / "report.html").read_text())
    assert "script" not in parser.tags and "img" not in parser.tags
    # Nothing comes from elsewhere: the figure refers to its own parts only.
    assert all(link.startswith("#") for link in parser.links)

    page = (tmp_path / "report.md").read_text()
    assert "<" not in page
    assert "](http" not in page.replace("\\](", "")
    for line in page.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (5, 9, 11)
    assert [line for line in page.splitlines() if line.startswith("# ")][1:] == []


def test_figure_is_of_print_resolution(ladder: Ladder, tmp_path: Path) -> None:
    write_report(ladder(), tmp_path, "Known")
    header = (tmp_path / "scaling.png").read_bytes()[:24]
    width, _ = struct.unpack(">II", header[16:])
    assert width >= 1000
    assert b"<dc:date>" not in (tmp_path / "scaling.svg").read_bytes()


def test_mixed_conventions_write_nothing(row: Row, tmp_path: Path) -> None:
    runs = pd.DataFrame([row("s"), row("m", flop_convention="6nd")])
    with pytest.raises(RunTableError, match="flop_convention"):
        write_report(runs, tmp_path / "out", "Known")
    assert not (tmp_path / "out").exists()
