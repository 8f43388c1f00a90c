"""A loaded study says what the commands and the report say, to the last digit, and shows itself."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from typer.testing import CliRunner

from analysis import Study, StudyError, load_study
from analysis.commands.app import app
from analysis.figures.registry import PLOTS
from analysis.report.shown import Shown
from tests.analysis.known import noisy

EXPORTED = Path(__file__).parents[1] / "exported"
TABLE = str(EXPORTED / "runs.csv")


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(EXPORTED)


def printed(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout.removesuffix("\n")


def test_the_verbs_say_what_the_commands_say(study: Study) -> None:
    few: Any = {"bootstrap": 100, "seed": 3}
    drawn = ("--bootstrap", 100, "--seed", 3)
    held = ("fit", TABLE, "--law", "compute", "--by", "arm", "--e", 0, "--loss", "l2")
    assert repr(study.fit(**few)) == printed(*held, *drawn)
    free = ("fit", TABLE, "--law", "compute", "--by", "arm")
    assert repr(study.fit(e="free", loss="huber", **few)) == printed(*free, *drawn)
    paired = ("compare", TABLE, "--pair-col", "preset")
    assert repr(study.compare(**few)) == printed(*paired, *drawn)
    assert repr(study.compare(pair_col="preset", **few)) == printed(*paired, *drawn)
    asked = ("predict", TABLE, "--law", "compute", "--by", "arm", "--e", 0, "--loss", "l2")
    asked += ("--at", "flops=1e15")
    assert repr(study.predict({"flops": 1e15}, **few)) == printed(*asked, *drawn)
    assert repr(study.predict("flops=1e15", **few)) == printed(*asked, *drawn)


def test_the_numbers_are_those_of_the_report(study: Study, tmp_path: Path) -> None:
    told = repr(study.report(tmp_path))
    assert told.endswith(str(tmp_path / "report.html")) and "falls as C^-" in told
    report = json.loads((tmp_path / "fits.json").read_text())
    fits, compared = study.fit(), study.compare()
    for arm in report["arms"]:
        assert fits[arm["arm"]].fit.params == pytest.approx(arm["params"], rel=1e-12)
        draws = fits[arm["arm"]].draws
        assert draws is not None
        assert draws.intervals["b"] == pytest.approx(arm["b_interval"], rel=1e-12)
    found = json.loads(json.dumps(compared.document()["comparisons"]))
    assert [one["gains"] for one in found] == [one["gains"] for one in report["comparisons"]]


def test_isoflop_and_chinchilla_of_a_grid(tmp_path: Path) -> None:
    C, N = (grid.ravel() for grid in np.meshgrid((1e18, 1e19, 1e20), np.geomspace(1e7, 1e10, 7)))
    D = C / (6 * N)
    loss = noisy(1.8 + 480.0 * N**-0.35 + 2100.0 * D**-0.37, 1, 1e-4)
    frame = pd.DataFrame({"params": N, "tokens": D, "train_flops": C, "val_loss": loss})
    frame = frame.sort_values("train_flops", kind="stable")
    frame["point_id"] = [f"point-{i:02}" for i in range(len(frame))]
    frame.to_csv(tmp_path / "runs.csv", index=False)
    grid, drawn = load_study(tmp_path), ("--bootstrap", 100)
    command = printed("isoflop", tmp_path / "runs.csv", *drawn)
    assert repr(grid.isoflop(bootstrap=100)) == command and "parabola" in command
    split = grid.predict(optimal_at=1e22, bootstrap=100)
    assert "EXTRAPOLATED" in repr(split) and "EXTRAPOLATED: flops 100 times" in html_of(split)


class Cells(HTMLParser):
    """The rows of the tables of a page, and whether its tags close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def html_of(shown: Shown) -> str:
    page = shown._repr_html_()
    assert not Cells(page).open
    return page


def test_results_show_themselves_as_tables(study: Study) -> None:
    few: Any = {"bootstrap": 100}
    rows = Cells(html_of(study)).rows
    assert rows[0] == ["arm", "finished", "sizes", "val loss", "train FLOPs"]
    assert rows[1] == ["dense", "3", "3", "1.6534 – 2.0809", "7.85e+11 – 8.81e+12"]
    assert [row[0] for row in rows[2:]] == ["lowrank 62.5%", "lowrank 31.25%"]
    fits = Cells(html_of(study.fit(**few))).rows
    assert fits[0][:4] == ["arm", "E", "a", "b"] and fits[1][1] == "0 (held)"
    assert len(fits) == 4 and all("[" in row[3] for row in fits[1:])
    page = html_of(study.compare("lowrank 31.25%", **few))
    assert "<strong>For the same loss, " in page
    compared = Cells(page).rows
    assert [row[:2] for row in compared[1:]] == [
        ["dense", "lowrank 31.25%"], ["lowrank 62.5%", "lowrank 31.25%"],
    ]  # fmt: skip
    near, far = (study.predict({"flops": C}, **few) for C in (1e12, 1e15))
    assert "EXTRAPOLATED" not in html_of(near) and html_of(far).count("EXTRAPOLATED: flops") == 3
    assert "plot.scaling()" in html_of(study.plot)


def test_names_from_a_table_are_inert(tmp_path: Path) -> None:
    arms = [f"<b>{name}</b>" for name in ("one", "two")]
    rows = [f"{arm},{C:g},{3 - i / 10}" for arm in arms for i, C in enumerate((1e11, 1e12, 1e13))]
    (tmp_path / "runs.csv").write_text("arm,train_flops,val_loss\n" + "\n".join(rows))
    named = load_study(tmp_path)
    for shown in (named, named.fit(bootstrap=0)):
        assert "<b>" not in html_of(shown) and "&lt;b&gt;one" in html_of(shown)


def test_every_figure_of_runs_is_a_method(study: Study) -> None:
    of_runs = [name for name, plot in PLOTS.items() if plot.of_study]
    assert dir(study.plot) == sorted(of_runs) and "latency" not in of_runs
    assert (study.plot.scaling.__doc__ or "").startswith("Draw validation loss against")
    picture, size = study.plot.scaling()._repr_png_()  # type: ignore[attr-defined]  # a Picture
    assert picture.startswith(b"\x89PNG") and size["width"] > 300
    label = study.plot.scaling(loss_col="bits_per_byte").axes[0].get_ylabel()
    assert label == "validation loss (bits per byte)"
    assert len(study.plot.curves().axes) >= 1
    with pytest.raises(AttributeError, match=r"no figure 'scalin' \(nearest: 'scaling'\)"):
        _ = study.plot.scalin


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda s: s.fit("chinchila"), r"law chinchila: no such law \(nearest: 'chinchilla'\)"),
        (lambda s: s.fit(e="fre"), "e 'fre': give a loss to hold E at, or 'free'"),
        (lambda s: s.fit(by="amr"), "no column 'amr'"),
        (lambda s: s.fit(loss_col="bits_per_bite"), r"nearest: 'bits_per_byte'"),
        (lambda s: s.fit(bootstrap=0)["dens"], r"no arm 'dens' \(nearest: 'dense'\)"),
        (lambda s: s.compare("dens"), "no arm 'dens' to refer to; one of dense"),
        (lambda s: s.compare(bootstrap=9), "bootstrap 9: a comparison needs intervals"),
        (lambda s: s.predict(), r"nothing to predict; give at NAME=NUMBER,\.\.\. or optimal_at"),
        (lambda s: s.predict({"parms": 1}), "law chinchilla has no 'parms'; it takes params"),
        (lambda s: s.growth(), "none grew; give the table of a study with `grow`"),
        (lambda s: s.plot.guided(), "no structured run spent the training FLOPs of a dense run"),
        (lambda s: s.plot.spectra(), "no checkpoint"),
    ],
)
def test_a_mistake_is_one_line(ask: Callable[[Study], object], words: str, study: Study) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        ask(study)
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)


def test_jupyter_shows_a_mistake_without_the_frames(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = InteractiveShell()
    shell.push({"study": study})
    done = shell.run_cell("study.fit('chinchila')")
    assert isinstance(done.error_in_exec, StudyError)
    shown = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(shown) == 1 and shown[0].startswith("StudyError: law chinchila: no such law")
