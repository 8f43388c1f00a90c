"""The report: a run table in; `runs.csv`, `fits.json`, the figure and a readable page out.

Every sentence is made by rule from the numbers: an arm is called steeper than another only when
their intervals do not touch, and what the runs leave open is said. The same table gives the same
bytes, so a report can be compared, cached and committed.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis import figures
from analysis.curves import curves_figure
from analysis.ladder import Fit, Interval, Resampling, fit_power_law, slope_interval
from analysis.runs import RUN_COLUMNS, clean, run_table

PACKAGES = ("numpy", "scipy", "pandas", "matplotlib")
NOTHING = "–"  # what a table shows where a value is absent


@dataclass(frozen=True)
class ArmResult:
    """One arm of the report: its fit, the interval of its exponent, and the sentence on both."""

    arm: str
    fit: Fit
    interval: Interval | None
    headline: str


@dataclass(frozen=True)
class Report:
    """What `write_report` wrote and found."""

    out_dir: Path
    headlines: tuple[str, ...]
    arms: tuple[ArmResult, ...]
    n_used: int
    n_excluded: int


@dataclass(frozen=True)
class Section:
    """A table of text under a title and a note; `numeric` marks columns aligned to the right."""

    title: str
    note: str
    headers: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: list[tuple[str, ...]]


def write_report(
    runs: pd.DataFrame, out_dir: Path, title: str, curves: pd.DataFrame | None = None
) -> Report:
    """Fit every arm of `runs` and write the report to `out_dir`, which is made if absent.

    Writes `runs.csv` (all rows, whether they entered or not), `fits.json`, `scaling.png`,
    `scaling.svg`, `report.md` and `report.html`, replacing files of these names; and, where
    `curves` are given, `curves.csv`, `curves.png` and `curves.svg`.

    Args:
        runs: one row a run, with the required columns of `RUN_COLUMNS`.
        out_dir: the folder of the report.
        title: its heading.
        curves: the training curves, with the columns of `curves.CURVE_COLUMNS`.

    Raises:
        RunTableError: the table lacks a column, holds a bad number or mixes FLOP conventions.
        OSError: the folder cannot be written.
    """
    runs = run_table(runs, "run table")
    used, excluded = clean(runs)
    resampling = Resampling()
    arms = _fit_arms(used, resampling)
    headlines = tuple(result.headline for result in arms) or (_nothing_finished(excluded),)

    out_dir.mkdir(parents=True, exist_ok=True)
    csv = runs.to_csv(index=False, float_format=_shortest, lineterminator="\n").encode()
    (out_dir / "runs.csv").write_bytes(csv)
    provenance = _provenance(used, csv)
    document = {
        "title": title,
        "law": "L(C) = E + a C^-b; L in nats per token, C in training FLOPs",
        "options": {"E": 0.0, **asdict(resampling)},
        "arms": [_arm_record(result, used) for result in arms],
        "provenance": provenance,
    }
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    _write_text(out_dir / "fits.json", text + "\n")

    fits = {result.arm: result.fit for result in arms}
    figures.save(figures.scaling_figure(used, fits, resampling), out_dir / "scaling")
    if curves is not None:
        curves.to_csv(out_dir / "curves.csv", index=False, lineterminator="\n")
        figures.save(curves_figure(curves), out_dir / "curves")
    context = {
        "curves": None if curves is None else _data_uri(out_dir / "curves.svg"),
        "title": title,
        "headlines": headlines,
        "caption": _caption(used, resampling),
        "sections": [_fit_section(arms, resampling), _used_section(used), _left_out(excluded)],
        "provenance": _provenance_lines(provenance),
        "svg": _inline_svg(out_dir / "scaling.svg"),
    }
    for name, templates in (("report.html", _HTML), ("report.md", _MARKDOWN)):
        _write_text(out_dir / name, templates.get_template(name).render(context))
    return Report(out_dir, headlines, arms, len(used), len(excluded))


def _data_uri(svg: Path) -> str:
    """The picture as an address that holds it, so that the page needs no other file."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def _fit_arms(used: pd.DataFrame, resampling: Resampling) -> tuple[ArmResult, ...]:
    fits = {
        str(arm): fit_power_law(rows["train_flops"], rows["val_loss"])
        for arm, rows in used.groupby("arm", sort=False)
    }
    intervals = {arm: slope_interval(fit, resampling) for arm, fit in fits.items()}
    rankable = {arm: found for arm, found in intervals.items() if found and not fits[arm].is_exact}
    return tuple(
        ArmResult(arm, fit, intervals[arm], _headline(arm, fit, intervals[arm], rankable))
        for arm, fit in fits.items()
    )


def _headline(arm: str, fit: Fit, interval: Interval | None, rankable: dict[str, Interval]) -> str:
    if fit.law is None:
        return f"{arm}: no slope; the runs determine {fit.identified}."
    slope = f"{arm}: loss {'falls' if fit.law.b >= 0 else 'rises'} as C^{_sig(-fit.law.b)}"
    if interval is None:
        return f"{slope}; the runs determine {fit.identified}."
    if fit.is_exact:
        return f"{slope}; the runs lie on the line to rounding: an interval would say nothing."
    others = {name: other for name, other in rankable.items() if name != arm}
    return (
        f"{slope}; {interval.level:.0%} interval of b [{_sig(interval.low)}, "
        f"{_sig(interval.high)}] from {fit.n_sizes} sizes ({fit.dof} residual "
        f"degree{'' if fit.dof == 1 else 's'} of freedom): {_verdict(interval, others)}."
    )


def _verdict(interval: Interval, others: dict[str, Interval]) -> str:
    findings = []
    if interval.low <= 0 <= interval.high:
        findings.append("it includes 0, so the runs do not settle that loss falls")
    steeper = [arm for arm, other in others.items() if interval.is_above(other)]
    flatter = [arm for arm, other in others.items() if other.is_above(interval)]
    if steeper:
        findings.append(f"steeper than {', '.join(steeper)} (the intervals do not overlap)")
    if flatter:
        findings.append(f"less steep than {', '.join(flatter)} (the intervals do not overlap)")
    if others and not steeper and not flatter:
        findings.append("the kinds' intervals overlap, too wide to rank them")
    if not others:
        findings.append("no other kind has an interval to compare with")
    return "; ".join(findings)


def _nothing_finished(excluded: pd.DataFrame) -> str:
    if excluded.empty:
        return "The table holds no run: there is nothing to fit."
    return "No run has finished with a usable loss: there is nothing to fit yet."


def _caption(used: pd.DataFrame, resampling: Resampling) -> str:
    if used.empty:
        return "No run entered, so there is no curve to draw."
    return (
        "Validation loss in nats per token against training FLOPs, both axes logarithmic. Points "
        "are runs; lines are fits of L(C) = a C^-b, one for each arm. Shaded: pointwise "
        f"{resampling.level:.0%} bands, cut at the edge of the axes where they are taller. An arm "
        "without a residual degree of freedom has no band."
    )


def _fit_section(arms: tuple[ArmResult, ...], resampling: Resampling) -> Section:
    level = f"{resampling.level:.0%}"
    headers = ("arm", "b", f"{level} interval of b", "a", "residual s.e.", "runs", "sizes", "dof")
    rows = []
    for result in arms:
        fit, law, interval = result.fit, result.fit.law, result.interval
        rows.append(
            (
                result.arm,
                _sig(law.b) if law else NOTHING,
                f"[{_sig(interval.low)}, {_sig(interval.high)}]" if interval else NOTHING,
                _sig(law.a) if law else NOTHING,
                NOTHING if fit.residual_se is None else _sig(fit.residual_se),
                str(fit.n_runs),
                str(fit.n_sizes),
                str(fit.dof),
            )
        )
    note = (
        "L(C) = a C^-b by least squares of log L on log C; a positive b means that loss falls. "
        "The residual standard error is relative to the loss. Intervals: parametric bootstrap-t, "
        f"{resampling.resamples} resamples, seed {resampling.seed}; they assume independent "
        "errors of equal relative size and that the law holds."
    )
    return Section("Fits", note, headers, (False, *[True] * 7), rows)


def _used_section(used: pd.DataFrame) -> Section:
    columns = {
        "arm": ("arm", str),
        "preset": ("preset", str),
        "val_loss": ("val loss (nats/token)", "{:.4f}".format),
        "bits_per_byte": ("val loss (bits/byte)", "{:.4f}".format),
        "params": ("params", "{:,.0f}".format),
        "ffn_params": ("FFN params", "{:,.0f}".format),
        "tokens": ("tokens", "{:,.0f}".format),
        "train_flops": ("train FLOPs", "{:.2e}".format),
        "train_seconds": ("training time (s)", "{:,.1f}".format),
        "point_id": ("point", str),
    }
    rows = [
        tuple(_cell(row[name], show) for name, (_, show) in columns.items())
        for row in used.to_dict("records")
    ]
    headers = tuple(header for header, _ in columns.values())
    numeric = tuple(RUN_COLUMNS[name].kind == "number" for name in columns)
    return Section("Runs that entered", f"{_runs(len(rows))}.", headers, numeric, rows)


def _left_out(excluded: pd.DataFrame) -> Section:
    columns = ("point_id", "arm", "preset", "reason")
    rows = [tuple(_cell(row[c], str) for c in columns) for row in excluded.to_dict("records")]
    headers = ("point", "arm", "preset", "reason")
    return Section("Runs that did not enter", f"{_runs(len(rows))}.", headers, (False,) * 4, rows)


def _arm_record(result: ArmResult, used: pd.DataFrame) -> dict[str, Any]:
    fit, interval, law = result.fit, result.interval, result.fit.law
    rows = used[used["arm"] == result.arm]
    return {
        "arm": result.arm,
        "b": law.b if law else None,
        "b_interval": [interval.low, interval.high] if interval else None,
        # Null beside a finite log_a: a overflowed.
        "a": law.a if law and math.isfinite(law.a) else None,
        "log_a": law.log_a if law else None,
        "E": law.E if law else None,
        "residual_se_log_loss": fit.residual_se,
        "n_runs": fit.n_runs,
        "n_sizes": fit.n_sizes,
        "dof": fit.dof,
        "identified": fit.identified,
        "headline": result.headline,
        "point_ids": list(rows["point_id"]),
        "run_ids": list(rows["run_id"]),
    }


def _provenance(used: pd.DataFrame, csv: bytes) -> dict[str, Any]:
    named = ("study", "flop_convention", "commit", "hardware")
    return {
        "runs_csv_sha256": hashlib.sha256(csv).hexdigest(),
        "run_ids": list(used["run_id"]),
        **{name: sorted(set(used[name]) - {""}) for name in named},
        "versions": {name: version(name) for name in PACKAGES},
    }


def _provenance_lines(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
    listed = [
        (label, ", ".join(provenance[name]) or NOTHING)
        for label, name in (
            ("study", "study"),
            ("FLOP convention", "flop_convention"),
            ("commit", "commit"),
            ("hardware", "hardware"),
        )
    ]
    return [*listed, ("sha256 of runs.csv", provenance["runs_csv_sha256"]), ("versions", versions)]


def _inline_svg(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]  # HTML takes neither the XML declaration nor the doctype


def _escape_markdown(value: object) -> str:
    """Make text inert in a Markdown line or table cell: no HTML, emphasis, link or new cell."""
    flat = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"[\\`*_|~]|\](?=[(\[:])", r"\\\g<0>", flat)


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"


def _cell(value: Any, show: Callable[[Any], str]) -> str:
    return NOTHING if value == "" or pd.isna(value) else show(value)


def _sig(value: float) -> str:
    """Three significant digits, trailing zeros kept, so that a column compares at a glance."""
    return f"{value:#.3g}".rstrip(".")


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same float; whole numbers without a point."""
    return repr(float(value)).removesuffix(".0")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


_HTML = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_MARKDOWN = _HTML.overlay(autoescape=False, finalize=_escape_markdown)
