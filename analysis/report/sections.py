"""The report's tables: text under a title and a note, as CSV, LaTeX and Markdown too."""

import csv
import html
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.arm_document import document
from analysis.report.findings import limits, multiplicity, sig
from analysis.scaling.arms import Arm, Arms
from analysis.tables.frames import sizes
from analysis.tables.published import read_off
from analysis.tables.runs import RUN_COLUMNS
from analysis.uncertainty.holm import holm

NOTHING = "–"  # what a table shows where a value is absent
LATEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Section:
    """A table under a title and a note; `numeric` marks columns aligned to the right."""

    name: str  # of its files
    title: str
    note: str
    headers: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: list[tuple[str, ...]]

    def csv(self) -> str:
        """The table as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.headers, *self.rows])
        return text.getvalue()

    def markdown(self) -> str:
        """The table as Markdown, its text inert."""
        marks = ["---:" if numeric else "---" for numeric in self.numeric]
        lines = [[escape_markdown(cell) for cell in row] for row in [self.headers, *self.rows]]
        return "\n".join(f"| {' | '.join(row)} |" for row in [lines[0], marks, *lines[1:]]) + "\n"

    def latex(self) -> str:
        """The table as a LaTeX tabular, for \\input; it needs the package booktabs."""
        columns = "".join("r" if numeric else "l" for numeric in self.numeric)
        lines = [
            " & ".join(escape_latex(cell) for cell in row) + r" \\"
            for row in [self.headers, *self.rows]
        ]
        body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"]) + "\n"


def write_tables(sections: list[Section], folder: Path) -> None:
    """Write each section that has a table as NAME.csv, NAME.tex and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    for section in filter(lambda one: one.headers, sections):
        for suffix, text in (
            (".csv", section.csv()),
            (".tex", section.latex()),
            (".md", section.markdown()),
        ):
            (folder / f"{section.name}{suffix}").write_text(text, encoding="utf-8", newline="\n")


def fit_section(arms: Arms) -> Section:
    """Each arm's fit, with and without the runs that were left out."""
    level = f"{arms.resampling.level:.0%}"
    headers = ("arm", "b", f"{level} interval of b", "a", "E", "residual rms", "runs", "sizes")
    headers += ("dof", "converged", "b with the runs left out")
    estimator = "Huber's loss" if arms.loss == "huber" else "least squares"
    E = "E free" if arms.E is None else "E held at 0"
    note = (
        f"L(C) = E + a C^-b, {E}, by {estimator} of log loss; a positive b means that loss falls. "
        f"The residual rms is relative to the loss. Intervals: {arms.resampling.resamples} "
        f"resamples, seed {arms.resampling.seed}, percentiles; with few runs the law keeps its "
        "runs' FLOPs and receives new errors of the residuals' spread. The last column repeats "
        "the fit with those runs left out that have a loss."
    )
    numeric = (False, *[True] * (len(headers) - 1))
    rows = [_fit_row(arm) for arm in arms.arms if arm.profile is None]
    return Section("fits", "Fits", note, headers, numeric, rows)


def limits_section(arms: Arms, used: pd.DataFrame) -> Section:
    """What the runs can support, in words alone."""
    note = " ".join([limits(arms), *read_off(used)])
    return Section("limits", "What these runs can support", note, (), (), [])


def _fit_row(arm: Arm) -> tuple[str, ...]:
    found = arm.fitted
    runs = (str(arm.table.n), str(arm.n_sizes), str(arm.dof))
    if found is None:
        return (arm.name, *[NOTHING] * 5, *runs, NOTHING, NOTHING)
    values = document(found)["params"] if arm.is_uncertain else found.fit.params
    shown = {name: NOTHING if v is None else sig(v) for name, v in values.items()}
    interval = f"[{sig(arm.interval[0])}, {sig(arm.interval[1])}]" if arm.interval else NOTHING
    rms = sig(float((found.fit.residuals**2).mean() ** 0.5)) if arm.is_uncertain else NOTHING
    other = found.with_left_out
    again = f"{sig(other.params['b'])} ({other.n} runs)" if other else NOTHING
    converged = "yes" if found.certificate.converged else "NO"
    # With E held a slope that may be zero still is an estimate; its interval says so.
    b = sig(found.fit.params["b"]) if "E" in found.fit.held else shown["b"]
    return (arm.name, b, interval, shown["a"], shown["E"], rms, *runs, converged, again)


def isoflop_section(arms: Arms) -> Section:
    """The minima of the arms that are isoFLOP designs."""
    headers = ("arm", "budget (FLOPs)", "sizes", "N*, parabola", "N*, Akima", "D*", "loss")
    headers += ("parabola's bias", "N* of the law", "refused")
    note = (
        "Runs of several sizes at each of a few budgets: loss at one budget depends on its split "
        "into parameters and tokens, so such an arm has no line of loss against FLOPs. Instead, "
        "the size of lowest loss at each budget, by a parabola in log N and by an Akima spline; D* "
        "is what the budget leaves for tokens. The bias is the parabola's vertex over the true "
        "optimum on the Chinchilla law through the same runs, with the same sizes and no noise."
    )
    rows = [
        (
            arm.name,
            f"{one.flops:.3g}",
            str(one.n),
            *(NOTHING if v is None else sig(v) for v in (one.parabola_params, one.akima_params)),
            NOTHING if one.tokens is None else sig(one.tokens),
            NOTHING if one.loss is None else f"{one.loss:.4f}",
            NOTHING if one.bias is None else f"{one.bias:.3f}",
            NOTHING if one.parametric_params is None else sig(one.parametric_params.value),
            one.refused or NOTHING,
        )
        for arm in arms.arms
        if arm.profile
        for one in arm.profile.minima
    ]
    numeric = (False, *[True] * 8, False)
    return Section("isoflop", "IsoFLOP minima", note, headers, numeric, rows)


def comparison_section(arms: Arms) -> Section:
    """Each arm against the reference, at the middle of the losses that both reached."""
    headers = ("arm", "reference", "at FLOPs", "slope difference", "gain", "p (slopes equal)")
    headers += ("p, Holm", "p, sign flips")
    adjusted = holm([one.shared.p_likelihood for one in arms.comparisons])
    rows = []
    for one, p in zip(arms.comparisons, adjusted, strict=True):
        flips = f"{one.permutation.p:.3g}" if one.permutation else NOTHING
        gains = {at.flops: at.gain for at in one.gains}
        for slope in one.slopes:
            d, gain = slope.difference, gains[slope.flops]
            rows.append(
                (
                    one.arm,
                    one.reference,
                    f"{slope.flops:.2e}",
                    f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]",
                    f"{gain.value:.3f} [{gain.low:.3f}, {gain.high:.3f}]",
                    f"{one.shared.p_likelihood:.3g}",
                    f"{p:.3g}",
                    flips,
                )
            )
    numeric = (False, False, *[True] * 6)
    return Section("comparisons", "Comparisons", multiplicity(arms), headers, numeric, rows)


def used_section(used: pd.DataFrame) -> Section:
    """The runs that entered."""
    columns = {
        "arm": ("arm", str),
        "preset": ("size", str),
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
        for row in used.assign(preset=sizes(used)).to_dict("records")
    ]
    headers = tuple(header for header, _ in columns.values())
    numeric = tuple(RUN_COLUMNS[name].kind == "number" for name in columns)
    return Section("runs", "Runs that entered", f"{_runs(len(rows))}.", headers, numeric, rows)


def left_out_section(excluded: pd.DataFrame) -> Section:
    """The runs that did not, each with its reason."""
    columns = ("point_id", "arm", "preset", "status", "reason")
    records = excluded.assign(preset=sizes(excluded)).to_dict("records")
    rows = [tuple(_cell(row[c], str) for c in columns) for row in records]
    headers = ("point", "arm", "size", "status", "reason")
    counted = excluded["reason"].value_counts(sort=False)
    told = "; ".join(f"{count} {reason}" for reason, count in counted.items())
    note = f"{_runs(len(rows))}{': ' if told else ''}{told}."
    return Section("left_out", "Runs that did not enter", note, headers, (False,) * 5, rows)


def escape_markdown(value: object) -> str:
    """Make text inert in a Markdown line or table cell: no HTML, emphasis, link or new cell."""
    flat = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"[\\`*_|~]|\](?=[(\[:])", r"\\\g<0>", flat)


def escape_latex(value: object) -> str:
    """Make text inert in LaTeX."""
    return "".join(LATEX.get(c, c) for c in " ".join(str(value).split()))


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"


def _cell(value: Any, show: Callable[[Any], str]) -> str:
    return NOTHING if value == "" or pd.isna(value) else show(value)
