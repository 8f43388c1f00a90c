"""The report of a run table: `runs.csv`, `fits.json`, figures, tables and a readable page.

Every sentence is made by rule from the numbers (`findings`). The same table gives the same bytes,
so a report can be compared, cached and committed. The page needs no other file and no network.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.figures import style
from analysis.figures.curves import curves_figure
from analysis.figures.growth import growth_figure
from analysis.figures.isoflop import isoflop_figure
from analysis.figures.scaling import scaling_figure
from analysis.growth.measure import Growth, measure_growth
from analysis.growth.series import is_grown
from analysis.report.arm_document import document
from analysis.report.findings import answer, headline, headlines
from analysis.report.growth import break_even_section, gain_section, paid
from analysis.report.sections import (
    NOTHING,
    comparison_section,
    escape_markdown,
    fit_section,
    isoflop_section,
    left_out_section,
    limits_section,
    losses_section,
    used_section,
    write_tables,
)
from analysis.scaling.arms import Arm, Arms, fit_arms
from analysis.tables.cautions import cautions
from analysis.tables.curves import CURVES
from analysis.tables.frames import where
from analysis.tables.runs import loss_label, losses_of_texts, run_table, split_usable, with_loss
from analysis.tables.writing import finite, write_bytes, write_text

PACKAGES = ("numpy", "scipy", "pandas", "matplotlib")


@dataclass(frozen=True, repr=False)
class Report:
    """The folder that was written, and what was found; it shows itself as a terminal does."""

    out_dir: Path
    answer: str  # the comparison of the arms in one sentence; empty where there is none
    headlines: tuple[str, ...]  # one sentence an arm
    cautions: tuple[str, ...]  # about the runs that the numbers rest on
    arms: Arms
    n_used: int
    n_excluded: int

    @property
    def lines(self) -> list[str]:
        """What a terminal shows: the answer, then what it rests on."""
        return [line for line in (self.answer, *self.headlines, *self.cautions) if line]

    def __repr__(self) -> str:
        return "\n".join((*self.lines, f"report: {self.out_dir / 'report.html'}"))


@dataclass(frozen=True)
class MoreFigure:
    """A figure below the first: its file, the same as an address, its text."""

    name: str
    uri: str
    alt: str
    caption: str


def write_report(
    runs: pd.DataFrame,
    out_dir: Path,
    title: str,
    curves: pd.DataFrame | None = None,
    source: str = "run table",
    loss: str = "val_loss",
) -> Report:
    """Fit every arm of `runs` and write the report to `out_dir`, which is made if absent.

    Writes `runs.csv` (all rows, whether they entered or not), `fits.json`, `report.md`,
    `report.html`, the figure `scaling` as SVG, PDF and PNG, and in `tables/` each table as CSV,
    LaTeX and Markdown, replacing files of these names; where `curves` are given, `curves.csv` and
    the figure `curves`; of isoFLOP designs the figure `isoflop`; and of tables with grown runs the
    figure `growth`.

    Args:
        runs: one row a run, with the required columns of `RUN_COLUMNS`.
        out_dir: the folder of the report.
        title: its heading.
        curves: the training curves, with the columns of `curves.CURVE_COLUMNS`.
        source: where the rows come from, for error messages.
        loss: the column of the loss that is fitted: `val_loss`, `bits_per_byte`, `val_loss/wiki`.

    Raises:
        RunTableError: the table lacks a column, holds a bad number or mixes FLOP conventions.
        OSError: the folder cannot be written.
    """
    runs = run_table(runs, source)
    fitted = runs if loss == "val_loss" else with_loss(runs, loss, source)
    used, excluded = split_usable(fitted, source)
    arms = fit_arms(used, excluded)
    # Curves hold the loss in nats on the validation text alone.
    of_loss = curves if loss == "val_loss" else None
    growth = measure_growth(used, of_loss, arms.resampling, source)
    found, sentences = _answer(arms, used, growth), headlines(arms, excluded)
    told = (*cautions(used), *_fit_cautions(arms))

    csv = _csv(runs)
    write_bytes(out_dir / "runs.csv", csv)
    provenance = _provenance(used, csv)
    text = json.dumps(
        finite(_document(title, loss, arms, used, excluded, provenance, growth)),
        indent=2,
        allow_nan=False,
        ensure_ascii=False,
    )
    write_text(out_dir / "fits.json", text + "\n")

    style.save(scaling_figure(used, arms, loss), out_dir / "scaling")
    # One look an arm in all figures: that of its place among those that are fitted.
    looks = list(dict.fromkeys((*(arm.name for arm in arms.arms), *runs["arm"])))
    figures = _more_figures(arms, curves, looks, out_dir, loss)
    if growth is not None and growth.ends:  # some grown arm has a scratch arm beside it
        figures.insert(0, _growth_figure(used, of_loss, source, out_dir, loss))
    designs = {arm.name: arm.isoflop for arm in arms.arms if arm.isoflop}
    sections = [fit_section(arms), *([isoflop_section(designs)] if designs else [])]
    sections += [] if growth is None else [gain_section(growth), break_even_section(growth)]
    sections += [limits_section(arms, told), comparison_section(arms)]
    sections += [losses_section(used, loss)] if losses_of_texts(used) else []
    sections += [used_section(used, loss), left_out_section(excluded)]
    write_tables(sections, out_dir / "tables")
    context = {
        "figures": figures,
        "title": title,
        "answer": found,
        "headlines": sentences,
        "caption": _caption(used, arms, loss),
        "sections": sections,
        "provenance": _provenance_lines(provenance, arms),
        "svg": _inline_svg(out_dir / "scaling.svg"),
    }
    for name, templates in (("report.html", _HTML), ("report.md", _MARKDOWN)):
        write_text(out_dir / name, templates.get_template(name).render(context))
    return Report(out_dir, found, sentences, told, arms, len(used), len(excluded))


def _fit_cautions(arms: Arms) -> list[str]:
    """Say which lines are doubtful; what units say of a table is said of all arms at once."""
    return [
        f"{arm.name}: {text}."
        for arm in arms.arms
        if arm.fitted is not None and not arm.is_exact
        for text in arm.fitted.cautions(arm.fitted.draws)
        if text not in arm.table.cautions
    ]


def _more_figures(
    arms: Arms, curves: pd.DataFrame | None, looks: list[str], out_dir: Path, loss: str
) -> list[MoreFigure]:
    """Write the figures that not every report has; `looks` are the arms in the order of theirs."""
    found = []
    if any(arm.isoflop for arm in arms.arms):
        style.save(isoflop_figure(arms, loss), out_dir / "isoflop")
        found.append(
            MoreFigure(
                "isoflop",
                _data_uri(out_dir / "isoflop.svg"),
                "Validation loss against parameters at each budget",
                "Validation loss against parameters, a colour for each budget of training FLOPs. "
                "A budget whose lowest loss is at an edge of its sizes has no parabola.",
            )
        )
    if curves is not None:
        write_bytes(out_dir / CURVES, _csv(curves))
        style.save(curves_figure(curves, looks), out_dir / "curves")
        found.append(
            MoreFigure(
                "curves",
                _data_uri(out_dir / "curves.svg"),
                "Training loss against step and validation loss against FLOPs",
                "Training curves, a line for each run: the running mean of the loss over a twelfth "
                "of the run, and the loss on the validation text.",
            )
        )
    return found


def _answer(arms: Arms, used: pd.DataFrame, growth: Growth | None) -> str:
    """Say what arms need for the same loss: of those that grew, whether growth paid."""
    if growth is None:
        return answer(arms.comparisons)
    grown = frozenset(where(used, is_grown(used))["arm"])
    return " ".join(filter(None, (answer(arms.comparisons, but=grown), paid(growth))))


def _growth_figure(
    used: pd.DataFrame, curves: pd.DataFrame | None, source: str, out_dir: Path, loss: str
) -> MoreFigure:
    style.save(growth_figure(used, curves, source, loss), out_dir / "growth")
    return MoreFigure(
        "growth",
        _data_uri(out_dir / "growth.svg"),
        "Validation loss against total training FLOPs, grown runs beside runs from scratch",
        "Grown arms beside the arm from scratch, against all their training FLOPs. Points: ends, "
        "means over seeds with their range. Lines: curves of the longest runs, thin and light "
        "before the model grew; without curves they join the ends.",
    )


def _document(
    title: str,
    loss: str,
    arms: Arms,
    used: pd.DataFrame,
    excluded: pd.DataFrame,
    provenance: dict[str, Any],
    growth: Growth | None,
) -> dict[str, Any]:
    return {
        "title": title,
        "law": f"L(C) = E + a C^-b; L is the {loss_label(loss)}, C in training FLOPs",
        "options": {"E": arms.E, "loss": arms.loss, **asdict(arms.resampling)},
        "arms": [_arm_record(arm, arms, used) for arm in arms.arms],
        "comparisons": [asdict(one) for one in arms.comparisons],
        "nothing_compared_because": arms.why_not or None,
        **({} if growth is None else {"growth": asdict(growth)}),
        "excluded": excluded.filter(["point_id", "arm", "status", "reason"]).to_dict("records"),
        "provenance": provenance,
    }


def _arm_record(arm: Arm, arms: Arms, used: pd.DataFrame) -> dict[str, Any]:
    rows = used[used["arm"] == arm.name]
    found: dict[str, Any] = {} if arm.fitted is None else document(arm.fitted)
    # A fit names rows by number; the report names runs.
    suspects = [used["point_id"].iloc[row - 1] for row in found.pop("suspected_outliers", ())]
    for name in ("excluded", "excluded_counts", "derived"):
        found.pop(name, None)
    return {
        "arm": arm.name,
        "headline": headline(arm, arms),
        "b": arm.fitted.fit.params["b"] if arm.fitted else None,
        "b_interval": arm.interval,
        "n_runs": arm.table.n,
        "n_sizes": arm.n_sizes,
        "dof": arm.dof,
        "not_fitted_because": arm.why_not or None,
        "isoflop": asdict(arm.isoflop) if arm.isoflop else None,
        **found,
        "intervals": found.get("intervals") if arm.is_uncertain else None,
        "far_from_the_law": suspects,
        "point_ids": list(rows["point_id"]),
        "run_ids": list(rows["run_id"]),
    }


def _caption(used: pd.DataFrame, arms: Arms, loss: str) -> str:
    if used.empty:
        return "No run entered, so there is no curve to draw."
    law = "E + a C^-b" if arms.E is None else "a C^-b"
    axes = f"{loss_label(loss).capitalize()} against training FLOPs, both axes logarithmic. "
    if all(arm.isoflop for arm in arms.arms):
        return f"{axes}Points are runs, several sizes at each budget: there are no lines."
    return (
        f"{axes}Points are runs; lines are fits of L(C) = {law}, one for each arm. Shaded: "
        f"pointwise {arms.resampling.level:.0%} bands, cut at the edge of the axes where they are "
        "taller. An arm without a residual degree of freedom has no band."
    )


def _provenance(used: pd.DataFrame, csv: bytes) -> dict[str, Any]:
    named = ("study", "flop_convention", "commit", "hardware")
    return {
        "runs_csv_sha256": hashlib.sha256(csv).hexdigest(),
        "run_ids": list(used["run_id"]),
        **{name: sorted(set(used[name]) - {""}) for name in named},
        "versions": {name: version(name) for name in PACKAGES},
    }


def _provenance_lines(provenance: dict[str, Any], arms: Arms) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
    listed = [
        (label, ", ".join(filter(None, provenance[name])) or NOTHING)
        for label, name in (
            ("study", "study"),
            ("FLOP convention", "flop_convention"),
            ("commit", "commit"),
            ("hardware", "hardware"),
            ("run ids", "run_ids"),
        )
    ]
    drawn = arms.resampling
    held = "free" if arms.E is None else f"held at {arms.E:g}"
    options = f"E {held}, loss {arms.loss}, {drawn.resamples} resamples, seed {drawn.seed}"
    return [
        *listed,
        ("sha256 of runs.csv", provenance["runs_csv_sha256"]),
        ("options", f"{options}, level {drawn.level:g}"),
        ("versions", versions),
    ]


def _data_uri(svg: Path) -> str:
    """Make an address that holds the picture, so that the page needs no other file."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def _inline_svg(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]  # HTML takes neither the XML declaration nor the doctype


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, float_format=_shortest, lineterminator="\n").encode()


def _shortest(value: float) -> str:
    """Write the shortest text that reads back as the same float; no point if it is whole."""
    return repr(float(value)).removesuffix(".0")


_HTML = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_MARKDOWN = _HTML.overlay(autoescape=False, finalize=escape_markdown)
