"""`python -m analysis growth`, its figure and the report of grown runs, as a user sees them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from typer.testing import CliRunner, Result

from analysis.commands.app import app
from analysis.figures.registry import PLOTS
from analysis.report.report import write_report
from analysis.tables.curves import load_curves
from analysis.tables.frames import where
from analysis.tables.runs import load_csv
from tests.analysis.known_growth import BASE_SHARE, grown_curves, grown_table

Row = Callable[..., dict[str, Any]]


def gain(factor: float, _: float) -> float:
    return 1.4 if factor == 2 else 0.8


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run table with curves beside it."""
    folder = tmp_path_factory.mktemp("grown")
    runs = grown_table(gain, factors=(2, 4), tokens_per_param=(10, 20))
    runs.to_csv(folder / "runs.csv", index=False)
    grown_curves(runs, gain).to_csv(folder / "curves.csv", index=False)
    return folder / "runs.csv"


def test_the_first_sentence_says_whether_growth_paid(study: Path, tmp_path: Path) -> None:
    done = run("growth", study, "--bootstrap", 200, "--json", tmp_path / "growth.json")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Of 2 grown arms, growth paid in 1, did not pay in 1 (")
    assert "growth pays below a factor of" in done.stdout
    assert lines[-1] == "18 runs entered, 12 of them grown; 0 did not"
    found = json.loads((tmp_path / "growth.json").read_text())
    assert found["paid"] == lines[0] and len(found["pairs"]) == 12
    assert found["ends"][0]["whole"]["value"] == pytest.approx(1.4, rel=0.1)
    assert {"sha256", "options", "versions"} <= set(found["provenance"])


def test_curves_may_lie_elsewhere_and_in_several_files(study: Path, tmp_path: Path) -> None:
    alone = tmp_path / "runs.csv"
    alone.write_bytes(study.read_bytes())
    done = run("growth", alone, "--bootstrap", 200)
    assert "No training curves were given" in done.stdout
    curves = pd.read_csv(study.with_name("curves.csv"))
    parts = [tmp_path / "a.csv", tmp_path / "b.csv"]
    dense = curves["arm"] == "dense"
    curves[dense].to_csv(parts[0], index=False)
    curves[~dense].to_csv(parts[1], index=False)
    options = [text for part in parts for text in ("--curves", part)]
    both = run("growth", alone, "--bootstrap", 200, *options)
    assert both.stdout == run("growth", study, "--bootstrap", 200).stdout
    twice = run("growth", alone, "--curves", parts[0], "--curves", parts[0])
    assert twice.exit_code == 2 and "too; leave one of the files out" in twice.stderr


def test_mistakes_are_one_line(study: Path, tmp_path: Path) -> None:
    runs = load_csv(study)
    runs[runs["growth"] == ""].to_csv(tmp_path / "scratch.csv", index=False)
    for done, text in (
        (run("growth", tmp_path / "scratch.csv"), "column 'growth' is empty in all 6 runs"),
        (run("growth", study, "--bootstrap", 5), "a gain needs intervals; give 100 or more"),
        (run("plot", "growth", tmp_path / "scratch.csv"), "draw a study with `grow`"),
    ):
        assert done.exit_code == 2 and text in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_report_has_a_section_where_runs_grew(study: Path, tmp_path: Path) -> None:
    curves = load_curves(study.with_name("curves.csv"))
    report = write_report(load_csv(study), tmp_path, "Grown", curves)
    page = (tmp_path / "report.md").read_text()
    assert report.answer.startswith("Of 2 grown arms, growth paid in 1")
    assert report.answer.count("dense grown stack x2") == 1
    assert "## Did growth pay?" in page and "## Where growth breaks even" in page
    assert "](growth.png)" in page and (tmp_path / "tables" / "growth.csv").is_file()
    assert json.loads((tmp_path / "fits.json").read_text())["growth"]["n_grown"] == 12


def test_other_reports_have_none(study: Path, tmp_path: Path) -> None:
    runs = load_csv(study)
    write_report(where(runs, runs["growth"] == ""), tmp_path, "Scratch")
    assert "growth" not in (tmp_path / "report.md").read_text().lower()
    assert not (tmp_path / "growth.png").exists()
    assert "growth" not in json.loads((tmp_path / "fits.json").read_text())


def lines_of(axes: Axes) -> list[Any]:
    return [line for line in axes.get_lines() if len(np.asarray(line.get_xydata()))]


def test_the_figure_shows_base_growth_and_ends(study: Path) -> None:
    (axes,) = PLOTS["growth"].draw([study]).axes
    assert axes.get_title() == "100M parameters"
    rings = [line for line in lines_of(axes) if line.get_markersize() == 7]
    light = [line for line in lines_of(axes) if line.get_alpha() and line.get_alpha() < 1]
    assert len(rings) == len(light) == 2  # one for each grown arm
    longest = 6 * 1e8 * 1e8 * 20
    for ring in rings:
        (flops,) = ring.get_xdata()
        assert 0.9 * BASE_SHARE * longest < flops <= BASE_SHARE * longest
        assert axes.get_ylim()[0] < ring.get_ydata()[0] < axes.get_ylim()[1]
    ends = [line for line in lines_of(axes) if line.get_markersize() == 5]
    assert [len(line.get_xdata()) for line in ends] == [2, 2, 2]


def test_the_figure_joins_ends_without_curves(study: Path, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_bytes(study.read_bytes())
    (axes,) = PLOTS["growth"].draw([tmp_path / "runs.csv"]).axes
    assert not [line for line in lines_of(axes) if line.get_markersize() == 7]
    joined = [line for line in lines_of(axes) if line.get_linestyle() != "None"]
    assert len(joined) == 3 and not axes.get_title()


def test_a_figure_of_other_roles_leaves_grown_runs_out(row: Row, tmp_path: Path) -> None:
    guided = row("s", "lowrank guided", guide_ratio=0.4, ffn_fraction=0.3)
    grown = row("s", "dense grown", growth="stack x2 at 0.3", val_loss=1.0, ffn_kind="dense")
    pd.DataFrame([row("s"), guided, grown]).to_csv(tmp_path / "runs.csv", index=False)
    (axes,) = PLOTS["guided"].draw([tmp_path / "runs.csv"]).axes
    drawn = np.concatenate([one.get_offsets() for one in axes.collections])
    assert drawn[:, 1].tolist() == pytest.approx([np.exp(2.5)] * 2)
