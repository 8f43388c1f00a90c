"""What the phases of a run do to model and optimizer: as a phase begins, and before each step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from workloads.config.growth import plan_of
from workloads.config.phases import Entry, Phase
from workloads.config.run import RunConfig
from workloads.nn.growth.grow import operator_of
from workloads.nn.growth.random import Masks
from workloads.nn.self_guided import add_guides, drop_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.run_dir.metrics_log import Row
from workloads.training.checkpoint import Tensors, collect
from workloads.training.grown_state import grown_state


def build_model(phase: Phase) -> Transformer:
    """Return the model that trains in the phase, newly initialized."""
    model = Transformer(phase.model)
    if phase.model.guide:
        add_guides(model, phase.model.guide)
    if phase.model.growth:
        operator_of(plan_of(phase.model.growth)).equip(model)
    return model


def enter(phase: Phase, model: Transformer, optimizer: torch.optim.Optimizer, seed: int) -> Tensors:
    """Return the weights and optimizer state that the phase begins with, as a checkpoint holds
    them, given those at the end of the phase before."""
    assert phase.entry
    return ENTRIES[phase.entry](phase, model, optimizer, seed)


def prepare(model: Transformer, config: RunConfig, phase: Phase, step: int) -> Row:
    """Prepare the model for passes after `step` steps; return what the row of metrics says of it.

    The column `guide_share` is the guide weight, and 0 once a guided run has dropped its guides.
    """
    weight = set_guides(model, step, config)
    for masks in model.children():
        if isinstance(masks, Masks):
            masks.set(step - phase.start)
    return {"guide_share": weight} if config.model.guide else {}


def _drop_guides(
    phase: Phase, model: Transformer, optimizer: torch.optim.Optimizer, seed: int
) -> Tensors:
    drop_guides(model)
    return collect(model, optimizer)


def _grow(phase: Phase, model: Transformer, optimizer: torch.optim.Optimizer, seed: int) -> Tensors:
    assert phase.model.growth
    return grown_state(phase.model.growth, collect(model, optimizer), seed)


ENTRIES: dict[Entry, Callable[[Phase, Transformer, torch.optim.Optimizer, int], Tensors]] = {
    "drop_guide": _drop_guides,
    "grow": _grow,
}
