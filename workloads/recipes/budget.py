"""How long a run trains, as a person writes it: in one unit, or as what a dense twin spends."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from workloads.config.clock import ClockConfig, Counted
from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.cost import flops
from workloads.errors import Misfit
from workloads.optim.config import OptimizerOptions
from workloads.schema.base import Config
from workloads.schema.rounding import rounded_up

# Keys of a budget beside its unit.
NO_UNITS = ("clock", "match_flops_of")
NO_FLOPS_TO_MATCH = (
    "match_flops_of needs FLOPs that are known ahead, and a run that a clock ends has those that "
    "fit into its time; give the budget in another unit, or remove match_flops_of"
)
# How near planned FLOPs come to those that `isoflop` or `match_flops_of` ask for.
TOLERANCE = 0.01


class Unreachable(ValueError):
    """No run of whole steps spends the FLOPs asked for to within `TOLERANCE`."""


class Budget(Config):
    """The length of a run, in one unit; steps are whole.

    Tokens and steps are fresh ones. A guide in mode `fixed_flops` reads some of the text again on
    top, and all its FLOPs count in `train_flops`. Beyond the end of the text, it is read anew.
    """

    tokens: Annotated[int, Field(gt=0, le=10**18)] | None = None
    """Fresh tokens, never exceeded."""
    tokens_per_param: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Fresh tokens over the run's own parameters, never exceeded."""
    steps: Annotated[int, Field(gt=0, le=10**18)] | None = None
    """Fresh steps: optimizer steps on tokens that are read for the first time."""
    train_flops: PositiveFloat | None = None
    """Training FLOPs (`paper` convention), a guide's included, never exceeded."""
    wall_seconds: PositiveFloat | None = None
    """Seconds in which the run ends by the clock, its schedule with it. In a study that states its
    `hardware`, and without `clock`: the steps that these GPUs take in so many seconds at their
    MFU."""
    clock: Counted | None = None
    """What `wall_seconds` counts: `training`, the steps alone, or `everything`, evaluations and
    checkpoints as well."""
    isoflop: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    """Training FLOPs, one point for each: as many tokens as spend them to within 1%."""
    match_flops_of: Literal["dense", "scratch"] | None = None
    """A structured run gets the tokens that spend, to within 1%, what its `dense` twin spends; a
    run that grows those of its `scratch` twin. The dense twin differs in its FFN alone, the scratch
    twin trains the grown model from its first step; the unit beside this key, or else the preset,
    is its budget."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        units = [name for name in type(self).model_fields if name not in NO_UNITS]
        given = [name for name in units if getattr(self, name) is not None]
        if len(given) != 1 and not (self.match_flops_of and not given):
            found = ", ".join(given) or "none"
            raise ValueError(f"a budget has exactly one of {', '.join(units)}; found {found}")
        return self

    @model_validator(mode="after")
    def _clock_has_seconds(self) -> Self:
        if self.clock and self.wall_seconds is None:
            raise Misfit(
                "clock says what wall_seconds counts; add wall_seconds, or remove it", "clock"
            )
        if self.clock and self.match_flops_of:
            raise Misfit(NO_FLOPS_TO_MATCH, "match_flops_of")
        return self

    @model_validator(mode="after")
    def _different_flops(self) -> Self:
        if self.isoflop and len(set(self.isoflop)) < len(self.isoflop):
            raise ValueError("isoflop lists the same FLOPs twice; remove one of the two")
        return self

    def of_twin(self) -> Budget | None:
        """Return the budget of the twin; None stands for its preset's."""
        given = self.model_dump(exclude={"match_flops_of"}, exclude_none=True)
        return Budget.model_validate(given) if given else None

    @property
    def exact_flops(self) -> float | None:
        """The FLOPs that `isoflop` asks of one run. Raises ValueError where it asks for several."""
        if self.isoflop and len(self.isoflop) > 1:
            raise ValueError("isoflop lists several FLOPs and one run spends one; use a study")
        return self.isoflop[0] if self.isoflop else None

    @property
    def ending_clock(self) -> ClockConfig | None:
        """The clock that ends the run, of a budget in seconds."""
        if self.wall_seconds is None:
            return None
        return ClockConfig(seconds=self.wall_seconds, counts=self.clock or "training")

    def resolve(self, model: ModelConfig, optimizer: OptimizerOptions, batch_size: int) -> int:
        """Return the most fresh steps within the budget, 0 when it pays for none.

        Raises ValueError for `wall_seconds`, of which nobody knows the steps ahead.
        """
        if self.steps is not None:
            return self.steps
        if self.train_flops is not None:
            return flops.affordable_steps(model, optimizer, batch_size, self.train_flops)
        if self.wall_seconds is not None:
            raise ValueError("wall_seconds has no number of steps; use another unit")
        if self.tokens_per_param is not None:
            tokens = self.tokens_per_param * flops.count_params(model).total
        else:
            tokens = self.tokens or 0
        return int(tokens // (batch_size * model.block_size))


def check_spends(run: RunConfig, train_flops: float) -> RunConfig:
    """Return the run. Raises Unreachable unless it spends `train_flops` to within `TOLERANCE`."""
    error = abs(flops.train_flops(run) / train_flops - 1)
    if error > TOLERANCE:
        step = _costliest_step(run)
        least = rounded_up(step / 2 / TOLERANCE, 2)
        raise Unreachable(
            f"whole steps of up to {step:.3g} FLOPs come within {error:.1%} of {train_flops:.4g} "
            f"FLOPs and not {TOLERANCE:.0%}; from {least:.2g} FLOPs on they do"
        )
    return run


def _costliest_step(run: RunConfig) -> int:
    """Return the most FLOPs that one more fresh step adds: its own, and those of reading again."""
    own = [
        flops.phase_step_flops(phase, run.optimizer, run.tokens_per_step) for phase in run.phases
    ]
    return max(own) + (own[-1] if run.total_steps > run.steps else 0)


def matching_ratios(
    model: ModelConfig,
    optimizer: OptimizerOptions,
    tokens_per_step: int,
    steps: int,
    train_flops: float,
) -> list[float]:
    """Return the guide ratios, of four digits, whose runs spend `train_flops` most nearly.

    One spends less and one more, over `steps` fresh steps. `model` has the guide in question, at
    any ratio. Raises Unreachable where no ratio spends as much.
    """
    assert model.guide
    guide = model.guide

    def spent(guided: int) -> int:
        """Return the FLOPs of the run with so many guided steps."""
        ratio = min(1.0, (guided + 0.5) / steps)
        chosen = guide.model_copy(update={"ratio": ratio}) if guided else None
        changed = model.model_copy(update={"guide": chosen})
        return flops.fresh_steps_flops(changed, optimizer, tokens_per_step, steps)

    if not spent(1) <= train_flops <= spent(steps):
        raise Unreachable(
            f"no guide ratio spends {train_flops:.4g} FLOPs: unguided it is {spent(0):.4g}, guided "
            f"throughout {spent(steps):.4g}; use another size of the FFN, or another mode"
        )
    below = bisect_right(range(steps + 1), train_flops, key=spent) - 1
    # Half a step more than what is guided, which is rounded down.
    return [min(1.0, round((n + 0.5) / steps, 4)) for n in (below, below + 1)]
