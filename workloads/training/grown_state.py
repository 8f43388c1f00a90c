"""Weights and optimizer state across a growth, as checkpoints hold them.

The optimizer of the grown model is built anew, so that every parameter is in it; what it takes over
is the state of single entries, which the operator traces to those of the base.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.config.growth import plan_of
from workloads.config.model import GrowthConfig
from workloads.nn.growth.grow import operator_of
from workloads.nn.growth.operator import Trace
from workloads.nn.growth.widening import Weights
from workloads.training.checkpoint import Tensors

WEIGHTS, STATE = "model.", "optimizer."


def grown_state(growth: GrowthConfig, tensors: Tensors, seed: int) -> Tensors:
    """Return the weights and optimizer state of the grown model, given those of its base."""
    weights = weights_among(tensors)
    operator = operator_of(plan_of(growth), seed)
    exact = operator.grow({name: tensor.double() for name, tensor in weights.items()})
    dtype = next(iter(weights.values())).dtype
    grown = {f"{WEIGHTS}{name}": tensor.to(dtype) for name, tensor in exact.items()}
    if growth.optimizer_state == "reset":
        return grown
    originals = growth.optimizer_state == "asymmetric"
    return grown | _carried(operator.trace(weights), weights, tensors, originals)


def weights_among(tensors: Tensors) -> Weights:
    """Return the weights of a checkpoint, by the model's names."""
    return {n.removeprefix(WEIGHTS): t for n, t in tensors.items() if n.startswith(WEIGHTS)}


def _carried(
    traces: dict[str, Trace], weights: Weights, tensors: Tensors, originals_only: bool
) -> Tensors:
    """Return the state of each grown parameter that has entries of the base, 0 for its others.

    With `originals_only` the first copy of an entry has its state alone.
    """
    state: Tensors = {}
    for name, trace in traces.items():
        if originals_only and not trace.original:
            continue
        entries = _first_ones(trace.entries) if originals_only else trace.entries
        prefix = f"{STATE}{trace.source}."
        for key in [key for key in tensors if key.startswith(prefix)]:
            value = tensors[key]
            if value.shape == weights[trace.source].shape:
                # Entry 0 stands for a new one.
                value = torch.cat([value.new_zeros(1), value.flatten()])[entries]
            state[f"{STATE}{name}.{key.removeprefix(prefix)}"] = value.clone()
    return state


def _first_ones(entries: Tensor) -> Tensor:
    """Return the entries with 0 in place of all but the first of equal ones."""
    flat = entries.flatten()
    values, which = flat.unique(return_inverse=True)
    places = torch.arange(len(flat))
    first = torch.full((len(values),), len(flat)).scatter_reduce_(0, which, places, "amin")
    return torch.where(first[which] == places, flat, 0).view_as(entries)
