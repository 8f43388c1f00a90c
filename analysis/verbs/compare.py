"""Comparing the arms of a table with a reference."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis.fitting.fit import Loss
from analysis.laws.power import ComputeLaw
from analysis.report.findings import answer, multiplicity
from analysis.report.sections import Section, comparisons_table
from analysis.report.shown import Shown
from analysis.scaling.arm import Settings, fit_arm
from analysis.scaling.arms import default_E, default_loss
from analysis.scaling.compare import Comparison, compare
from analysis.scaling.contender import Contender, Labels
from analysis.tables.table import Table, labels_of
from analysis.uncertainty.bootstrap import Resampling
from analysis.uncertainty.holm import holm
from analysis.verbs.choices import naming


@dataclass(frozen=True, repr=False)
class Compared(Shown):
    """The arms of a table against a reference, on L(C) = E + a C^-b."""

    table: Table
    reference: str
    settings: Settings
    contenders: dict[str, Contender]
    comparisons: tuple[Comparison, ...]

    @property
    def p_values(self) -> list[float]:
        """Of the likelihood ratio of one exponent for both arms, adjusted by Holm's method."""
        return holm([one.shared.p_likelihood for one in self.comparisons])

    @property
    def cautions(self) -> list[str]:
        """What makes the arms' fits doubtful, and what was refused."""
        told = [
            f"{name}: {text}"
            for name, one in self.contenders.items()
            for text in one.arm.cautions(one.draws)
        ]
        return told + [f"{one.arm}: {text}" for one in self.comparisons for text in one.refused]

    @property
    def lines(self) -> list[str]:
        """What a terminal shows."""
        held = _held_line(self.settings.E, self.table.convention)
        lines = [held, f"fitted by {self.settings.loss} on log loss"]
        lines += [
            f"caution: {name}: {text}"
            for name, one in self.contenders.items()
            for text in one.arm.cautions(one.draws)
        ]
        for one, p in zip(self.comparisons, self.p_values, strict=True):
            lines += _sentences(one, p)
        return [*lines, _multiplicity(self.comparisons)]

    @property
    def sections(self) -> list[Section]:
        """The answer, where one number gives it, and a row a comparison and stated FLOPs."""
        held = _held_line(self.settings.E, self.table.convention)
        table = comparisons_table(self.comparisons, f"{held}. {multiplicity(self.comparisons)}")
        stated = [one.slopes for one in self.comparisons]
        if any(len(slopes) != 1 or slopes[0].extrapolated for slopes in stated):
            return [table]
        return [Section("answer", answer(self.comparisons), "", {}, []), table]

    def document(self) -> dict[str, Any]:
        """Collect everything as JSON values."""
        held = self.settings.E
        return {
            "reference": self.reference,
            "E": "free" if held is None else held,
            "arms": {
                arm: {
                    "params": one.fit.params,
                    "intervals": one.draws.intervals,
                    "n_used": one.fit.n,
                    "bootstrap_method": one.draws.method,
                    "cautions": one.arm.cautions(one.draws),
                }
                for arm, one in self.contenders.items()
            },
            "comparisons": [
                asdict(one) | {"p_likelihood_holm": p}
                for one, p in zip(self.comparisons, self.p_values, strict=True)
            ],
            "multiplicity": _multiplicity(self.comparisons),
            "excluded": [asdict(row) for row in self.table.excluded],
            "excluded_counts": self.table.excluded_counts,
        }


def settings_of(
    table: Table,
    e: float | None,
    loss: Loss | None,
    delta: float | None,
    resampling: Resampling | None,
) -> Settings:
    """Choose how the arms' lines are fitted where it is not given: E, and by it the loss function.

    E is free from `FREE_E_FROM` different FLOPs an arm, else 0.
    """
    held = default_E(table.arms()) if e is None else e
    estimator: Loss = loss or ("huber" if delta else default_loss(held))
    return Settings(ComputeLaw(), estimator, delta, E=held, resampling=resampling)


def paired_by(table: Table, column: str) -> dict[str, Labels]:
    """Pair rows of two arms that are equal in a column, such as the size."""
    return {name: labels_of(rows, column, "--pair-col") for name, rows in table.arms().items()}


def compare_arms(
    table: Table,
    settings: Settings,
    reference: str | None = None,
    at: tuple[float, ...] = (),
    cells: Mapping[str, Labels] | None = None,
    extrapolate: bool = False,
) -> Compared:
    """Fit each arm and compare it with the reference, the first where none is named.

    Args:
        table: rows with arms.
        settings: of L(C), with resampling; see `settings_of`.
        reference: the arm that the others are compared with.
        at: FLOPs at which slopes and gains are stated; the middle of the joint range when empty.
        cells: label of each row of each arm, equal where rows of two arms form a pair.
        extrapolate: whether to go beyond losses that both reached.

    Raises:
        FitError: an arm cannot be fitted, there is no such reference, or only one arm.
    """
    fitted = {}
    for name, rows in table.arms().items():
        with naming(f"arm {name!r}", rows):
            fitted[name] = fit_arm(rows, settings)
    first = reference or next(iter(fitted))
    paired = None if cells is None else dict(cells)
    contenders, found = compare(fitted, first, at, paired, extrapolate)
    return Compared(table, first, settings, contenders, tuple(found))


def _held_line(held: float | None, convention: str | None) -> str:
    counted = f"; FLOPs counted as {convention!r}" if convention else ""
    if held is None:
        return f"E is free in every arm{counted}"
    return (
        f"E is held at {held:g}: exponents are of the whole loss, not of what it can lose{counted}"
    )


def _multiplicity(found: tuple[Comparison, ...]) -> str:
    if len(found) == 1:
        return "one comparison: its interval and p-value stand as they are"
    return (
        f"{len(found)} comparisons: intervals are each at their own level; p-values are also given "
        "adjusted by Holm's method"
    )


def _how_far(one: Comparison, C: float) -> str:
    """Say how far C lies beyond the FLOPs at which both arms' losses were reached."""
    if one.flops_range is None:
        return ": the arms reached no common loss"
    low, high = one.flops_range
    times = f"{C / high:.3g} times beyond" if high < C else f"{low / C:.3g} times below"
    return f": {times} the losses that both reached"


def _sentences(one: Comparison, p: float) -> list[str]:
    lines = [f"{one.arm} against {one.reference}{' (paired)' if one.paired else ''}"]
    lines.append(f"  {one.verdict}")
    stated = {slope.flops for slope in one.slopes}
    for at in one.gains:
        if at.flops in stated or at is one.gains[0] or at is one.gains[-1]:
            mark = f"  EXTRAPOLATED{_how_far(one, at.flops)}" if at.extrapolated else ""
            gain = at.gain
            lines.append(
                f"  gain at C = {at.flops:.3g}: {gain.value:.3f} "
                f"[{gain.low:.3f}, {gain.high:.3f}]{mark}"
            )
    shared = one.shared
    d = shared.difference
    lines.append(
        f"  over one E = {shared.E.value:.4g}: exponent b is {shared.arm.value:.4f} against "
        f"{shared.reference.value:.4f}, difference {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}], "
        f"p = {shared.p_likelihood:.3g} (Holm {p:.3g})"
    )
    if one.permutation is not None:
        flips = one.permutation
        lines.append(
            f"  sign flips of {flips.pairs} pairs: p = {flips.p:.3g} "
            f"(the smallest possible is {flips.smallest_p:.2g})"
        )
    if one.free_E_difference is not None:
        d = one.free_E_difference
        lines.append(
            f"  caution: with E free in each, exponents differ by {d.value:+.4f} "
            f"[{d.low:+.4f}, {d.high:+.4f}], which mixes E and b"
        )
    return lines + [f"  refused: {text}" for text in one.refused]
