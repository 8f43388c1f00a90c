"""The report as its readers see it: honest sentences, inert text, the same bytes twice."""

import hashlib
import html
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from analysis.report.findings import headlines
from analysis.report.report import Report, write_report
from analysis.scaling.arms import fit_arms
from analysis.tables import published
from analysis.tables.cautions import cautions
from analysis.tables.errors import RunTableError
from analysis.tables.runs import load_csv, split_usable

Row = Callable[..., dict[str, Any]]
Ladder = Callable[..., pd.DataFrame]
FILES = {"runs.csv", "fits.json", "report.md", "report.html"}
FILES |= {f"scaling.{kind}" for kind in ("svg", "pdf", "png")}
FILES |= {
    f"tables/{name}.{kind}"
    for name in ("fits", "comparisons", "runs", "left_out")
    for kind in ("csv", "tex", "md")
}


def told(runs: pd.DataFrame) -> tuple[str, ...]:
    """The headlines of a run table, without the report around them."""
    used, excluded = split_usable(runs)
    return headlines(fit_arms(used, excluded), excluded)


@pytest.fixture(scope="module")
def known(ladder: Ladder, row: Row, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of the ladder and a planned run."""
    planned = row("xl", status="queued", run_id=None, val_loss=None)
    runs = pd.concat([ladder(), pd.DataFrame([planned])])
    return write_report(runs, tmp_path_factory.mktemp("known") / "new" / "out", "Known")


@pytest.fixture(scope="module")
def of_the_paper(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of the published points."""
    return write_report(published.scaling(), tmp_path_factory.mktemp("paper"), "arXiv 2406.16450")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_writes_what_it_says(known: Report) -> None:
    report = known
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
    assert fits["options"]["E"] == 0.0 and fits["options"]["loss"] == "l2"
    assert fits["arms"][0]["certificate"]["converged"]
    assert [one["arm"] for one in fits["comparisons"]] == ["lowrank 31.25%"]
    assert [one["point_id"] for one in fits["excluded"]] == ["xl-dense"]

    for page in (files["report.md"].decode(), files["report.html"].decode()):
        for text in (*report.headlines, "nats/token", "bits/byte", "xl-dense", "planned, no run"):
            assert text.replace("'", "&#39;") in page or text in page


def test_same_table_same_bytes(known: Report, tmp_path: Path) -> None:
    """Whatever the order of its rows, and read back from the report itself."""
    write_report(known_rows(known), tmp_path, "Known")
    assert contents(tmp_path) == contents(known.out_dir)


def known_rows(report: Report) -> pd.DataFrame:
    return load_csv(report.out_dir / "runs.csv").sample(frac=1, random_state=1)


def apart(ladder: Ladder, shift: float) -> pd.DataFrame:
    """Two arms of which the second misses its line by `shift` in other places than the first."""
    runs = ladder(b=(0.05, 0.0505))
    own = runs["arm"] != "dense"
    runs.loc[own, "val_loss"] *= [1 + shift, 1 - shift, 1 + shift]
    return runs


def test_differences_within_the_interval_do_not_rank(ladder: Ladder) -> None:
    found = told(apart(ladder, -0.02))
    for headline in found:
        assert "from 3 sizes (1 residual degree of freedom)" in headline
        assert "is steeper than" not in headline
    assert "which of lowrank 31.25% and dense is steeper is not settled" in found[1]


def test_differences_beyond_the_interval_rank(ladder: Ladder, tmp_path: Path) -> None:
    runs = ladder(b=(0.05, 0.051), noise=(1e-5, -2e-5, 1e-5))
    dense, lowrank = write_report(runs, tmp_path, "Known").headlines
    assert dense.endswith("; the others are compared with it.")
    assert (
        "is steeper than dense: d ln L / d ln C is -0.0510 against -0.0500, difference -0.001"
        in lowrank
    )
    table = (tmp_path / "tables" / "comparisons.csv").read_text()
    assert table.startswith("arm,reference,at FLOPs,slope difference,gain")
    assert "\nlowrank 31.25%,dense,7.46e+11," in table


@pytest.mark.parametrize(
    ("settled", "words"),
    [
        (
            True,
            r"For the same loss, dense needs [\d.]+ \[[\d., ]+\] times the training FLOPs of low",
        ),
        (
            False,
            r"For the same loss, whether dense needs more .* lowrank 31.25% \(.*\) is not settled",
        ),
    ],
)
def test_the_page_leads_with_the_figure_and_the_answer(
    settled: bool, words: str, ladder: Ladder, tmp_path: Path
) -> None:
    noise = (1e-5, -2e-5, 1e-5)
    runs = ladder(b=(0.05, 0.051), noise=noise) if settled else apart(ladder, -0.02)
    report = write_report(runs, tmp_path, "Known")
    assert re.match(words, report.lines[0]) and report.lines[1] == report.headlines[0]
    for name, figure in (("report.md", "](scaling.png)"), ("report.html", "<svg")):
        page = html.unescape((tmp_path / name).read_text())
        found = re.search(words, page)
        assert found, name
        assert page.index(figure) < found.start() < page.index(report.headlines[0])


def test_one_arm_has_no_answer(ladder: Ladder, tmp_path: Path) -> None:
    runs = ladder()
    report = write_report(runs.query("arm == 'dense'"), tmp_path, "Known")
    assert report.lines == [*report.headlines]
    assert "For the same loss" not in (tmp_path / "report.md").read_text()


def test_runs_left_out_are_listed_and_fitted_beside(
    ladder: Ladder, row: Row, tmp_path: Path
) -> None:
    stopped = row("xl", status="interrupted", train_flops=1e14, val_loss=3.0)
    runs = pd.concat([ladder(), pd.DataFrame([stopped])])
    page = (write_report(runs, tmp_path, "Known").out_dir / "report.md").read_text()
    assert "1 run: 1 interrupted: stopped half way." in page
    fits = json.loads((tmp_path / "fits.json").read_text())["arms"]
    assert fits[0]["with_excluded"]["n"] == 4 and fits[1]["with_excluded"] is None
    assert f"{fits[0]['with_excluded']['params']['b']:#.3g} (4 runs)" in page


def test_the_report_of_the_published_points_says_what_four_points_support(
    of_the_paper: Report,
) -> None:
    report = of_the_paper
    page = (report.out_dir / "report.md").read_text()
    assert "What 4 sizes an arm can support" in page and "What they cannot: E" in page
    assert "With 2 residual degrees of freedom an interval is 4.3 standard errors" in page
    assert sum("no slope" in headline for headline in report.headlines) == 4
    assert "not settled" in report.headlines[-1]


def test_losses_read_off_a_figure_are_said_to_be(known: Report, of_the_paper: Report) -> None:
    caution = "12 of these 16 losses were read off a published figure, each to ±0.002 nats"
    assert of_the_paper.cautions[0].startswith(caution)
    for name in ("report.md", "report.html"):
        assert caution in (of_the_paper.out_dir / name).read_text()
    assert not known.cautions


def test_units_that_do_not_fit_together_are_said(ladder: Ladder, tmp_path: Path) -> None:
    runs = ladder()
    report = write_report(runs.assign(tokens=runs["tokens"] / 1e9), tmp_path, "Billions")
    (caution,) = report.cautions
    assert "do not fit together" in caution and caution in (tmp_path / "report.md").read_text()


def test_an_E_at_its_bound_and_runs_of_several_lengths_are_said(row: Row, tmp_path: Path) -> None:
    """Four sizes of three lengths are four sizes, and a bend that no E >= 0 makes is no E of 0."""
    rows = [
        row(f"{N:g}", point_id=f"{N:g}-{ratio}", params=N, tokens=ratio * N, train_flops=C)
        | {"val_loss": 30.0 * C**-0.09 * (1 - 0.002 * math.log(C / 1e16) ** 2 + 0.001 * (-1) ** i)}
        for i, N in enumerate((1e7, 3e7, 1e8, 3e8))
        for ratio in (5, 20, 80)
        for C in (6 * ratio * N * N,)
    ]
    report = write_report(pd.DataFrame(rows), tmp_path, "Lengths")
    (headline,) = report.headlines
    assert "loss above E = 0 (its bound) [" in headline
    assert "from 4 sizes and 12 training FLOPs" in headline
    lengths, bound = report.cautions
    assert "4 of 4 sizes have runs of several lengths" in lengths
    assert "E is at its bound of 0" in bound and "do not tell E from b" in bound
    (arm,) = json.loads((tmp_path / "fits.json").read_text())["arms"]
    assert arm["n_sizes"] == 4 and len(arm["cautions"]) == 2
    table = (tmp_path / "tables" / "fits.csv").read_text().splitlines()
    assert "E,95% interval of E" in table[0] and ",0 (its bound)," in table[1]
    assert "With 4 sizes and 12 training FLOPs an arm" in (tmp_path / "report.md").read_text()


def test_fractions_that_differ_within_an_arm_are_said(ladder: Ladder) -> None:
    runs = ladder()
    own = (runs["arm"] != "dense").to_numpy()
    assert not [text for text in cautions(runs) if "FFN" in text]
    runs.loc[own, "ffn_fraction"] = [0.42, 0.31, 0.28]
    runs.loc[own, "ffn_params"] = [0.71 * 72_000, 0.54 * 72_000, 0.46 * 72_000]
    (told,) = [text for text in cautions(runs) if "FFN" in text]
    assert told.startswith("lowrank 31.25%: its structured FFN layers have 28.0% to 42.0%")
    assert "46.0% to 71.0%" in told


def test_losses_on_every_text_are_in_the_report(row: Row, tmp_path: Path) -> None:
    rows = [
        row("s", point_id=f"s{seed}", seed=seed, val_loss=2.0 + seed)
        | {"val_loss/web": 1.0 + seed, "val_loss/code": 3.0, "bits_per_byte/web": None}
        for seed in (0, 1)
    ]
    write_report(pd.DataFrame(rows), tmp_path, "Mixed")
    assert (tmp_path / "tables" / "losses.csv").read_text().splitlines() == [
        "arm,size,tokens,runs,own (nats/token),own (bits/byte),code (nats/token),web (nats/token)",
        'dense,s,"1,000,000",2,2.5000,1.2000,3.0000,1.5000',
    ]
    assert "## Losses by text" in (tmp_path / "report.md").read_text()


def test_rows_of_an_arm_are_in_the_order_of_their_flops(row: Row, tmp_path: Path) -> None:
    """Also where a whole rank gave the smaller model the larger fraction, or the other way."""
    rows = [
        row(size, "lowrank 31.25%", ffn_fraction=fraction, train_flops=C)
        for size, fraction, C in (("m", 0.3125, 2e12), ("s", 0.2778, 1e12), ("l", 0.4, 3e12))
    ]
    write_report(pd.DataFrame(rows), tmp_path, "Ordered")
    lines = (tmp_path / "tables" / "runs.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["s", "m", "l"]


def test_an_isoflop_study_has_minima_and_no_line(row: Row, tmp_path: Path) -> None:
    rows = []
    for C in (1e18, 1e19):
        for i, factor in enumerate(np.geomspace(0.25, 4, 5)):
            N = 0.4 * (C / 6) ** 0.5 * factor
            loss = 2.0 + C**-0.05 + 0.05 * math.log(factor) ** 2 + 1e-4 * i
            rows.append(
                row(f"size-{i}-{C:g}", train_flops=C * (1 + 0.003 * i), val_loss=loss)
                | {"params": N, "tokens": C / 6 / N}
            )
    report = write_report(pd.DataFrame(rows), tmp_path, "IsoFLOP")
    (headline,) = report.headlines
    assert "isoFLOP design has no line of loss against FLOPs" in headline
    assert "N* grows as C^0.5" in headline and "falls as" not in headline
    assert set(contents(tmp_path)) - FILES >= {"isoflop.svg", "tables/isoflop.tex"}
    arm = json.loads((tmp_path / "fits.json").read_text())["arms"][0]
    assert arm["b"] is None and "isoFLOP" in arm["not_fitted_because"]
    for found, C in zip(arm["isoflop"]["minima"], (1e18, 1e19), strict=True):
        assert found["parabola_params"] == pytest.approx(0.4 * (C / 6) ** 0.5, rel=0.02)
        assert found["tokens"] * found["parabola_params"] * 6 == pytest.approx(C, rel=0.02)
    page = (tmp_path / "report.md").read_text()
    assert "](isoflop.png)" in page and "depends on its split into parameters and tokens" in page


def test_interval_around_zero_claims_nothing(ladder: Ladder) -> None:
    assert "includes 0" in told(ladder(noise=(0.05, -0.1, 0.05)))[0]


def test_rising_loss_is_called_rising(ladder: Ladder) -> None:
    assert told(ladder(b=(-0.05, 0.05)))[0].startswith("dense: loss rises as C^0.05")


def test_exact_runs_are_not_taken_for_precision(ladder: Ladder) -> None:
    for headline in told(ladder(noise=(0.0, 0.0, 0.0))):
        assert "on the line to rounding" in headline
        assert "steep" not in headline


@pytest.mark.parametrize("sizes", [["s"], ["s", "m"]])
def test_few_runs_are_reported_as_few(ladder: Ladder, sizes: list[str], tmp_path: Path) -> None:
    runs = ladder()
    report = write_report(runs.loc[runs["preset"].isin(sizes)], tmp_path, "Known")
    assert set(contents(tmp_path)) == FILES
    word = "no slope from" if len(sizes) == 1 else "a point estimate only"
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
            assert len(re.findall(r"(?<!\\)\|", line)) in (6, 9, 12, 13)
    assert [line for line in page.splitlines() if line.startswith("# ")][1:] == []


def test_figure_is_of_print_resolution(known: Report) -> None:
    assert matplotlib.image.imread(known.out_dir / "scaling.png").shape[1] >= 1000
    assert b"<dc:date>" not in (known.out_dir / "scaling.svg").read_bytes()


def test_mixed_conventions_write_nothing(row: Row, tmp_path: Path) -> None:
    runs = pd.DataFrame([row("s"), row("m", flop_convention="6nd")])
    with pytest.raises(RunTableError, match="flop_convention"):
        write_report(runs, tmp_path / "out", "Known")
    assert not (tmp_path / "out").exists()
