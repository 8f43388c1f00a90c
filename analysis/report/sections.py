"""The report's tables: text under a title and a note, as CSV, LaTeX and Markdown too."""

import csv
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.arm_document import document
from analysis.report.findings import (
    fitted_E,
    growths,
    limits,
    multiplicity,
    parameter_interval,
    three_digits,
)
from analysis.scaling.arms import Arm, Arms
from analysis.scaling.compare import Comparison
from analysis.scaling.isoflop import IsoFlop, Minimum
from analysis.tables.frames import numbers, sizes
from analysis.tables.runs import RUN_COLUMNS, losses_of_texts
from analysis.tables.writing import write_text
from analysis.uncertainty.holm import holm

WITH_LEFT_OUT = "b of all runs"
NOTHING = "–"  # shown where a value is absent
EXTRAPOLATED = ", EXTRAPOLATED"  # behind a number beyond the range of the runs
NUMBER = ' class="number"'  # of cells that are aligned to the right
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
    """A table under a title and a note, or the note alone."""

    name: str  # stem of the table's files
    title: str
    note: str
    columns: dict[str, bool]  # header to whether it holds numbers, which are aligned to the right
    rows: list[tuple[str, ...]]

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers in order."""
        return tuple(self.columns)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(self.columns.values())

    def with_rows(self, rows: list[dict[str, str]]) -> "Section":
        """Fill the table; what a row leaves out is shown as absent."""
        cells = [tuple(row.get(header, NOTHING) for header in self.columns) for row in rows]
        return replace(self, rows=cells)

    def csv(self) -> str:
        """Write the table as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.headers, *self.rows])
        return text.getvalue()

    def markdown(self) -> str:
        """Write the table as Markdown, its text inert."""
        marks = ["---:" if numeric else "---" for numeric in self.numeric]
        lines = [[escape_markdown(cell) for cell in row] for row in [self.headers, *self.rows]]
        return "\n".join(f"| {' | '.join(row)} |" for row in [lines[0], marks, *lines[1:]]) + "\n"

    def html(self) -> str:
        """Write the table as HTML, its text inert; numbers are of the class `number`."""
        head = self._html_row(self.headers, "th", ' scope="col"')
        rows = "".join(self._html_row(row, "td") for row in self.rows)
        return f"<table>\n<thead>\n{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>"

    def _html_row(self, cells: tuple[str, ...], tag: str, also: str = "") -> str:
        written = [
            f"  <{tag}{also}{NUMBER if numeric else ''}>{html.escape(cell)}</{tag}>\n"
            for cell, numeric in zip(cells, self.numeric, strict=True)
        ]
        return f"<tr>\n{''.join(written)}</tr>\n"

    def latex(self) -> str:
        """Write the table as a LaTeX tabular, for \\input; it needs the package booktabs."""
        columns = "".join("r" if numeric else "l" for numeric in self.numeric)
        lines = [
            " & ".join(escape_latex(cell) for cell in row) + r" \\"
            for row in [self.headers, *self.rows]
        ]
        body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"]) + "\n"


def write_tables(sections: list[Section], folder: Path) -> None:
    """Write each section that has a table as NAME.csv, NAME.tex and NAME.md."""
    for section in filter(lambda one: one.headers, sections):
        for suffix, text in (
            (".csv", section.csv()),
            (".tex", section.latex()),
            (".md", section.markdown()),
        ):
            write_text(folder / f"{section.name}{suffix}", text)


def fit_section(arms: Arms) -> Section:
    """Tabulate each arm's fit, with and without the runs that were left out."""
    estimator = "Huber's loss" if arms.loss == "huber" else "least squares"
    is_free = arms.E is None
    E = "E free" if is_free else "E held at 0"
    note = (
        f"L(C) = E + a C^-b, {E}, by {estimator} of log loss; a positive b means that loss falls. "
        f"The residual rms is relative to the loss. Intervals: {arms.resampling.resamples} "
        f"resamples, seed {arms.resampling.seed}, percentiles; with few runs the law keeps its "
        "runs' FLOPs and receives new errors of the residuals' spread. dof: residual degrees of "
        "freedom. The last column is a fit to all runs that have a loss, those that did not enter "
        "included."
    )
    of = {name: f"{arms.resampling.level:.0%} interval of {name}" for name in "baE"}
    columns = {
        "arm": False,
        "b": True,
        of["b"]: True,
        "a": True,
        **({of["a"]: True} if is_free else {}),
        "E": True,
        **({of["E"]: True} if is_free else {}),
        "residual rms": True,
        "runs": True,
        "sizes": True,
        "dof": True,
        "converged": True,
        WITH_LEFT_OUT: True,
    }
    lines = [arm for arm in arms.arms if arm.isoflop is None]
    rows = []
    for arm in lines:
        intervals = {header: parameter_interval(arm, name) for name, header in of.items()}
        rows.append(_fit_row(arm) | {header: text for header, text in intervals.items() if text})
    return Section("fits", "Fits", note, columns, []).with_rows(rows)


def _fit_row(arm: Arm) -> dict[str, str]:
    row = {"arm": arm.name, "runs": str(arm.table.n), "sizes": str(arm.n_sizes)}
    row["dof"] = str(arm.dof)
    if arm.fitted is None:
        return row
    fit = arm.fitted.fit
    params = document(arm.fitted)["params"] if arm.is_uncertain else fit.params
    row |= {name: three_digits(value) for name, value in params.items() if value is not None}
    if "E" not in fit.held:
        row["E"] = fitted_E(arm)
    else:
        # A slope that may be zero is an estimate all the same; its interval says so.
        row["b"] = three_digits(fit.params["b"])
    if arm.is_uncertain:
        row["residual rms"] = three_digits(float((fit.residuals**2).mean() ** 0.5))
    row["converged"] = "yes" if arm.fitted.certificate.converged else "NO"
    if (other := arm.fitted.with_left_out) is not None:
        row[WITH_LEFT_OUT] = f"{three_digits(other.params['b'])} ({other.n} runs)"
    return row


def limits_section(arms: Arms, cautions: tuple[str, ...]) -> Section:
    """Say what the runs can support, and what is doubtful, in words alone."""
    note = " ".join([limits(arms), *cautions])
    return Section("limits", "What these runs can support", note, {}, [])


def isoflop_section(found: Mapping[str, IsoFlop]) -> Section:
    """Tabulate the minima of the arms, by name, that are isoFLOP designs."""
    note = (
        "Runs of several sizes at each of a few budgets: loss at one budget depends on its split "
        "into parameters and tokens, so such an arm has no line of loss against FLOPs. Instead, "
        "the size of lowest loss at each budget, by a parabola in log N and by an Akima spline; "
        "each refuses budgets for itself. D* and the loss are the parabola's. The bias is the "
        "parabola's vertex over the true optimum on the Chinchilla law through the same runs, with "
        "the same sizes and no noise."
    )
    told = [f" {arm}: {'; '.join(growths(one))}." for arm, one in found.items()]
    columns = {
        "arm": False,
        "budget (FLOPs)": True,
        "sizes": True,
        "N*, parabola": True,
        "N*, Akima": True,
        "D*": True,
        "loss": True,
        "parabola's bias": True,
        "N* of the law": True,
        "refused": False,
    }
    rows = [
        {"arm": arm} | _minimum_row(minimum) for arm, one in found.items() for minimum in one.minima
    ]
    return Section("isoflop", "IsoFLOP minima", note + "".join(told), columns, []).with_rows(rows)


def _minimum_row(one: Minimum) -> dict[str, str]:
    row = {"budget (FLOPs)": f"{one.flops:.3g}", "sizes": str(one.n)}
    values = {
        "N*, parabola": one.parabola_params,
        "N*, Akima": one.akima_params,
        "D*": one.tokens,
        "N* of the law": one.parametric_params and one.parametric_params.value,
    }
    row |= {header: three_digits(value) for header, value in values.items() if value is not None}
    if one.loss is not None:
        row["loss"] = f"{one.loss:.4f}"
    if one.bias is not None:
        row["parabola's bias"] = f"{one.bias:.3f}"
    refused = {"parabola": one.refused, "Akima": one.akima_refused}
    if any(refused.values()):
        row["refused"] = "; ".join(f"{method}: {why}" for method, why in refused.items() if why)
    return row


def comparison_section(arms: Arms) -> Section:
    """Tabulate each arm against the reference, at the middle of the losses that both reached."""
    return comparisons_table(arms.comparisons, multiplicity(arms.comparisons, arms.why_not))


def comparisons_table(comparisons: Sequence[Comparison], note: str) -> Section:
    """Tabulate comparisons at the FLOPs where they state slopes."""
    columns = {
        "arm": False,
        "reference": False,
        "at FLOPs": True,
        "slope difference": True,
        "gain": True,
        "p (slopes equal)": True,
        "p, Holm": True,
        "p, sign flips": True,
    }
    adjusted = holm([one.shared.p_likelihood for one in comparisons])
    rows = []
    for one, p in zip(comparisons, adjusted, strict=True):
        gains = {at.flops: at.gain for at in one.gains}
        for slope in one.slopes:
            d, gain = slope.difference, gains[slope.flops]
            row = {
                "arm": one.arm,
                "reference": one.reference,
                "at FLOPs": f"{slope.flops:.2e}{EXTRAPOLATED if slope.extrapolated else ''}",
                "slope difference": f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]",
                "gain": f"{gain.value:.3f} [{gain.low:.3f}, {gain.high:.3f}]",
                "p (slopes equal)": f"{one.shared.p_likelihood:.3g}",
                "p, Holm": f"{p:.3g}",
            }
            if one.permutation:
                row["p, sign flips"] = f"{one.permutation.p:.3g}"
            rows.append(row)
    return Section("comparisons", "Comparisons", note, columns, []).with_rows(rows)


# Losses on the training text's own validation split; with another loss fitted, its column
# `val_loss` is that one.
_OWN = ("val_loss", "bits_per_byte")


def losses_section(used: pd.DataFrame, loss: str) -> Section:
    """Tabulate the losses on every source and evaluation set: of an arm's runs of one size and one
    number of tokens, the mean."""
    note = (
        "Final losses on the training text's own validation split, on each source of a mixture and "
        "on each evaluation set: means over the runs of one arm, size and number of tokens. Nats a "
        "token compare texts and models of one tokenizer only; bits a byte compare any."
    )
    losses = list(dict.fromkeys([*_OWN[loss != "val_loss" :], *losses_of_texts(used)]))
    headers = {name: _loss_header(name) for name in losses}
    columns = {"arm": False, "size": False, "tokens": True, "runs": True}
    rows = []
    sized = _by_flops(used.assign(size=sizes(used)))
    for _, runs in sized.groupby(["arm", "size", "tokens"], sort=False, dropna=False):
        first = runs.iloc[0]
        means = {headers[name]: numbers(runs, name).mean() for name in losses}
        rows.append(
            {"arm": first["arm"], "size": first["size"] or NOTHING, "runs": str(len(runs))}
            | {"tokens": _cell(first["tokens"], "{:,.0f}".format)}
            | {header: _cell(mean, "{:.4f}".format) for header, mean in means.items()}
        )
    columns |= dict.fromkeys(headers.values(), True)
    return Section("losses", "Losses by text", note, columns, []).with_rows(rows)


_BITS = ("val loss (bits/byte)", "{:.4f}".format)


def _fitted_header(loss: str) -> str:
    kind, _, text = loss.partition("/")
    on = f" on {text}" if text else ""
    return f"val loss{on} ({'nats/token' if kind == 'val_loss' else 'bits/byte'})"


def _loss_header(name: str) -> str:
    kind, _, text = name.partition("/")
    return f"{text or 'own'} ({'nats/token' if kind == 'val_loss' else 'bits/byte'})"


def used_section(used: pd.DataFrame, loss: str) -> Section:
    """Tabulate the runs that entered, by the loss that was fitted."""
    columns = {
        "arm": ("arm", str),
        "preset": ("size", str),
        "val_loss": (_fitted_header(loss), "{:.4f}".format),
        **({} if loss != "val_loss" else {"bits_per_byte": _BITS}),
        "params": ("params", "{:,.0f}".format),
        "ffn_params": ("FFN params", "{:,.0f}".format),
        "ffn_fraction": ("structured / dense FFN", "{:.4g}".format),
        "tokens": ("tokens", "{:,.0f}".format),
        "passes": ("passes", "{:.2g}".format),
        "train_flops": ("train FLOPs", "{:.2e}".format),
        "train_seconds": ("training time (s)", "{:,.1f}".format),
        "point_id": ("point", str),
    }
    rows = [
        tuple(_cell(row[name], show) for name, (_, show) in columns.items())
        for row in _by_flops(used).assign(preset=sizes).to_dict("records")
    ]
    headers = {header: RUN_COLUMNS[name].kind == "number" for name, (header, _) in columns.items()}
    return Section("runs", "Runs that entered", f"{_runs(len(rows))}.", headers, rows)


def _by_flops(used: pd.DataFrame) -> pd.DataFrame:
    """Order the rows of each arm by FLOPs, the arms as they come."""
    order = used.assign(place=pd.factorize(used["arm"])[0])
    return order.sort_values(["place", "train_flops"], kind="stable").drop(columns="place")


def left_out_section(excluded: pd.DataFrame) -> Section:
    """Tabulate the runs that did not enter, each with its reason."""
    columns = ("point_id", "arm", "preset", "status", "reason")
    records = excluded.assign(preset=sizes(excluded)).to_dict("records")
    rows = [tuple(_cell(row[c], str) for c in columns) for row in records]
    headers = {name: False for name in ("point", "arm", "size", "status", "reason")}
    counted = excluded["reason"].value_counts(sort=False)
    told = "; ".join(f"{count} {reason}" for reason, count in counted.items())
    note = f"{_runs(len(rows))}{': ' if told else ''}{told}."
    return Section("left_out", "Runs that did not enter", note, headers, rows)


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
