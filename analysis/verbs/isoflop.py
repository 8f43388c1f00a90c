"""The best size at each budget of each arm of a table, and how it grows."""

from dataclasses import asdict, dataclass
from typing import Any

from analysis.fitting.fit import FitError
from analysis.report.arm_document import document
from analysis.report.findings import growths
from analysis.report.sections import Section, isoflop_section
from analysis.report.shown import Shown
from analysis.scaling.arm import FittedArm, Settings, fit_arm
from analysis.scaling.forecast import flops_factor
from analysis.scaling.isoflop import IsoFlop, Minimum, isoflop
from analysis.tables.table import Table
from analysis.uncertainty.bootstrap import Estimate
from analysis.verbs.choices import naming

NEEDS = ("params", "tokens", "flops")  # of the table


@dataclass(frozen=True)
class ArmMinima:
    """The minima of one arm's budgets, with the parametric law beside them."""

    name: str
    arm: FittedArm
    factor: float  # k of C = k N D
    found: IsoFlop

    def document(self) -> dict[str, Any]:
        """Collect everything as JSON values."""
        return asdict(self.found) | {
            "flops_per_param_token": self.factor,
            "fit": document(self.arm),
        }


@dataclass(frozen=True, repr=False)
class Minima(Shown):
    """The minima of every arm's budgets."""

    arms: tuple[ArmMinima, ...]

    @property
    def cautions(self) -> list[str]:
        """What makes the table doubtful."""
        return list(dict.fromkeys(text for one in self.arms for text in one.arm.table.cautions))

    @property
    def lines(self) -> list[str]:
        """What a terminal shows."""
        lines = []
        for one in self.arms:
            lines += [*([f"{one.name}:"] if len(self.arms) > 1 else []), *_lines(one.found)]
        return lines + [f"caution: {text}" for text in self.cautions]

    @property
    def sections(self) -> list[Section]:
        """A row a budget of each arm."""
        return [isoflop_section({one.name: one.found for one in self.arms})]


def minima(table: Table, settings: Settings) -> Minima:
    """Find the best size at each budget of each arm, by parabola and by Akima spline.

    Raises:
        FitError: an arm cannot be fitted, or no budget of it has a minimum inside its sizes.
    """
    resampling = settings.resampling
    assert resampling is not None
    found = []
    for name, rows in table.arms().items():
        with naming(table.source if table.arm is None else f"arm {name!r}", rows):
            arm = fit_arm(rows, settings)
            factor = flops_factor(arm.table.values)
            one = isoflop(arm.table, factor, arm, resampling)
            if all(budget.refused and budget.akima_refused for budget in one.minima):
                reason = one.minima[0].refused
                raise FitError(f"no budget has a minimum inside its sizes ({reason})")
        found.append(ArmMinima(name, arm, factor, one))
    return Minima(tuple(found))


def _lines(found: IsoFlop) -> list[str]:
    lines = ["budget      sizes  N* parabola  N* Akima    parabola's bias  N* of the law"]
    lines += [_line(one) for one in found.minima]
    lines += [
        f"  {one.flops:.3g}: no minimum by {method}: {why}"
        for one in found.minima
        for method, why in (("parabola", one.refused), ("Akima", one.akima_refused))
        if why
    ]
    lines += growths(found)
    if found.parametric_exponent:
        lines.append(f"N* grows as C^a, parametric law: {_range(found.parametric_exponent)}")
    else:
        lines.append("N* grows as C^a, parametric law: it has no optimum on these runs")
    biases = [one.bias for one in found.minima if one.bias]
    if biases:
        lines.append(
            f"on the parametric law the parabola's vertex is {min(biases):.3f} to "
            f"{max(biases):.3f} times the true optimum: a bias of the method, not noise"
        )
    return lines


def _line(one: Minimum) -> str:
    law = f"{one.parametric_params.value:.3g}" if one.parametric_params else ""
    if one.parametric_extrapolated:
        law += f"  EXTRAPOLATED: {', '.join(one.parametric_extrapolated)}"
    vertex = f"{one.parabola_params:.3g}" if one.parabola_params else "refused"
    akima = f"{one.akima_params:.3g}" if one.akima_params else "refused"
    bias = f"x {one.bias:.3f}" if one.bias else "not known"
    return f"{one.flops:<11.3g} {one.n:>5}  {vertex:<11}  {akima:<10}  {bias:<15}  {law}"


def _range(one: Estimate) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"
