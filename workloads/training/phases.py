"""What the phases of a run do to model and optimizer: as a phase begins, and before each step."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from workloads.config.growth import plan_of
from workloads.config.phases import Entry, Phase
from workloads.config.run import RunConfig
from workloads.nn.growth.grow import operator_of
from workloads.nn.growth.learn import LearnedGrowth
from workloads.nn.growth.random import Masks
from workloads.nn.self_guided import add_guides, drop_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.run_dir.metrics_log import Row
from workloads.training.checkpoint import Tensors, collect
from workloads.training.grown_state import WEIGHTS, grown_state, weights_among
from workloads.training.learning import learned_growth, unfilled


def build_model(phase: Phase) -> Transformer:
    """Return the model that trains in the phase, newly initialized."""
    model = Transformer(phase.model)
    if phase.model.guide:
        add_guides(model, phase.model.guide)
    if phase.model.growth:
        operator_of(plan_of(phase.model.growth)).equip(model)
    return model


def trained_in(phase: Phase, model: Transformer, seed: int) -> nn.Module:
    """Return what the optimizer trains in the phase, and checkpoints hold: the model, or the
    matrices that its weights are multiplied out of."""
    growth = phase.learned_growth
    if growth is None:
        return model
    return learned_growth(growth, seed, unfilled(growth, model.device))


def enter(phase: Phase, trained: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> Tensors:
    """Return the weights and optimizer state that the phase begins with, as a checkpoint holds
    them, given what the phase before has trained."""
    assert phase.entry
    return ENTRIES[phase.entry](phase, trained, optimizer, seed)


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
    phase: Phase, trained: nn.Module, optimizer: torch.optim.Optimizer, seed: int
) -> Tensors:
    drop_guides(trained)
    return collect(trained, optimizer)


def _grow(phase: Phase, trained: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> Tensors:
    assert phase.model.growth
    return grown_state(phase.model.growth, collect(trained, optimizer), seed)


def _learn(
    phase: Phase, trained: nn.Module, optimizer: torch.optim.Optimizer, seed: int
) -> Tensors:
    assert phase.model.growth
    base = weights_among(collect(trained, optimizer))
    learned = learned_growth(phase.model.growth, seed, base)
    return {f"{WEIGHTS}{name}": p.detach() for name, p in learned.named_parameters()}


def _multiply_out(
    phase: Phase, trained: nn.Module, optimizer: torch.optim.Optimizer, seed: int
) -> Tensors:
    assert isinstance(trained, LearnedGrowth)
    dtype = next(trained.parameters()).dtype
    exact = copy.deepcopy(trained).double().weights()
    return {f"{WEIGHTS}{name}": t.detach().to("cpu", dtype) for name, t in exact.items()}


ENTRIES: dict[Entry, Callable[[Phase, nn.Module, torch.optim.Optimizer, int], Tensors]] = {
    "drop_guide": _drop_guides,
    "grow": _grow,
    "learn": _learn,
    "multiply_out": _multiply_out,
}
