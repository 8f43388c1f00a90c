"""What the phases of a run do to the model: as a phase begins, and before each of its steps."""

from __future__ import annotations

from collections.abc import Callable

from workloads.config.phases import Entry, Phase
from workloads.config.run import RunConfig
from workloads.nn.self_guided import add_guides, drop_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.run_dir.metrics_log import Row

# Each turns the model of the phase before, in place, into the one that the phase begins with.
ENTRIES: dict[Entry, Callable[[Transformer], None]] = {"drop_guide": drop_guides}


def build_model(phase: Phase) -> Transformer:
    """Return the model that trains in the phase, newly initialized."""
    model = Transformer(phase.model)
    if phase.model.guide:
        add_guides(model, phase.model.guide)
    return model


def enter(phase: Phase, model: Transformer) -> None:
    """Turn the model of the phase before, in place, into the one that this phase begins with."""
    if phase.entry:
        ENTRIES[phase.entry](model)


def prepare(model: Transformer, config: RunConfig, step: int) -> Row:
    """Prepare the model for passes after `step` steps; return what the row of metrics says of it.

    The column `guide_share` is the guide weight, and 0 once a guided run has dropped its guides.
    """
    weight = set_guides(model, step, config)
    return {"guide_share": weight} if config.model.guide else {}
