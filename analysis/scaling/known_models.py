"""Models that may be trained next, in the words of a study file: what the table's runs had.

Nothing is guessed. What a new size of an arm would have is said only where all runs of the arm have
it alike; where the table does not tell, one line says which column is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.fitting.fit import FitError
from analysis.laws.law import Array
from analysis.tables.cells import number_column, read_text
from analysis.tables.runs import size_columns
from analysis.tables.table import Table

Words = Mapping[str, str | int | float]
SAME_FRACTION = 0.02  # spread of fractions of one arm, whose ranks are whole numbers


@dataclass(frozen=True)
class Size:
    """A model that a study can train: its preset, its FFN in the study's words, its parameters."""

    preset: str
    ffn: Words
    params: float
    tokens: float  # usual number, around which budgets are tried
    width: float = 1.0  # multiplier of the preset's width
    guide: Words | None = None


def table_sizes(table: Table) -> list[Size]:
    """List the models of the table's own rows, by its preset, FFN and guide columns.

    Raises:
        FitError: the columns do not tell which models the rows are of.
    """
    rows = _Rows(table)
    if "preset" not in rows.frame.columns:
        raise FitError(
            "the table has no column 'preset', which would say which models can run; name some "
            "with --preset"
        )
    sizes: dict[str, Size] = {}
    for i, preset in enumerate(map(read_text, rows.frame["preset"])):
        width = rows.number("width", i, 1.0)
        ffn, guide = rows.ffn(i), rows.guide(i)
        key = repr((preset, width, ffn, guide))
        if key not in sizes and preset:
            params, tokens = (float(table.values[name][i]) for name in ("params", "tokens"))
            sizes[key] = Size(preset, ffn, params, tokens, width, guide)
    if not sizes:
        raise FitError("column 'preset' is empty; name models with --preset")
    return list(sizes.values())


def new_sizes(params: Mapping[str, float], table: Table) -> list[Size]:
    """Give presets of so many parameters the FFN and the guide that all of the table's rows have.

    Raises:
        FitError: the rows differ in them, or the columns do not tell.
    """
    rows = _Rows(table)
    ffn, guide = rows.common_ffn(), rows.common_guide()
    per_param = float(np.median(table.values["tokens"] / table.values["params"]))
    return [Size(name, ffn, N, per_param * N, guide=guide) for name, N in params.items()]


class _Rows:
    """The columns of a table's rows that say which model each of them is of."""

    def __init__(self, table: Table) -> None:
        self.params = table.values["params"]
        self.frame = table.file.frame.iloc[table.row - 1]
        named = [*size_columns(self.frame.columns), "ffn_fraction", "width", "guide_ratio"]
        self.numbers: dict[str, Array] = {
            name: number_column(self.frame, table.source, name)
            for name in named
            if name in self.frame.columns
        }

    def number(self, name: str, i: int, otherwise: float) -> float:
        found = float(self.numbers[name][i]) if name in self.numbers else np.nan
        return found if np.isfinite(found) else otherwise

    def text(self, name: str, i: int) -> str:
        return read_text(self.frame[name].iloc[i]) if name in self.frame.columns else ""

    def ffn(self, i: int) -> dict[str, str | int | float]:
        """Say which FFN row i has."""
        kind, arm = self.text("ffn_kind", i), self.text("arm", i)
        if not kind:
            if "arm" in self.frame.columns:
                raise FitError(
                    f"column 'ffn_kind' does not say which FFN the runs of arm {arm!r} have; add it"
                )
            kind = "dense"  # a study's own default
        ffn: dict[str, str | int | float] = {"kind": kind}
        sizes = size_columns(self.numbers)
        for name in sizes:
            if np.isfinite(self.numbers[name][i]):
                ffn[name.removeprefix("ffn_")] = int(self.numbers[name][i])
        if not sizes and kind != "dense":
            fraction = self.number("ffn_fraction", i, np.nan)
            if np.isnan(fraction):
                raise FitError(
                    f"no column such as 'ffn_rank' or 'ffn_fraction' says which {kind} FFN the "
                    "runs have; add it"
                )
            ffn["fraction"] = fraction
        return ffn | ({"arm": arm} if arm else {})

    def guide(self, i: int) -> dict[str, str | int | float] | None:
        """Say how row i is guided; None where it is not."""
        ratio = self.number("guide_ratio", i, 0.0)
        if not ratio:
            return None
        mode = self.text("guide_mode", i)
        return {"ratio": ratio} | ({"mode": mode} if mode else {})

    def common_ffn(self) -> Words:
        """Say which FFN a model of another size has in the arm of these rows."""
        found = [self.ffn(i) for i in range(len(self.frame))]
        kinds = sorted({str(ffn["kind"]) for ffn in found})
        if len(kinds) > 1:
            raise FitError(f"the runs have FFNs of {' and '.join(kinds)}: choose one with --arm")
        differ = [n for n in sorted({n for ffn in found for n in ffn}) if _differs(found, n)]
        sized = set(found[0]) - {"kind", "arm", "fraction"}
        if not differ and (not sized or np.ptp(self.params) > 0):
            return found[0]
        fractions = self.numbers.get("ffn_fraction", np.array([np.nan]))
        if len(differ) == 1 and float(np.ptp(fractions)) <= SAME_FRACTION:
            kept = {name: value for name, value in found[0].items() if name != differ[0]}
            return kept | {"fraction": float(np.median(fractions))}
        what = f"differ in {', '.join(differ)}" if differ else "are of one size"
        raise FitError(
            f"the runs {what}, so which FFN a new preset has is not known; leave out --preset, or "
            "give a table whose runs have one ffn_fraction"
        )

    def common_guide(self) -> Words | None:
        """Say how these rows are guided, all alike."""
        found = [self.guide(i) for i in range(len(self.frame))]
        if any(guide != found[0] for guide in found):
            raise FitError(
                "the runs differ in guide_ratio or guide_mode, so how a new preset is guided is "
                "not known; choose an arm with --arm, or leave out --preset"
            )
        return found[0]


def _differs(found: list[dict[str, str | int | float]], name: str) -> bool:
    return len({ffn.get(name) for ffn in found}) > 1
