"""Parameters of a dense model here as the tensors of an architecture, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workloads.config.model import FFNConfig, ModelConfig
from workloads.interop.huggingface.architecture import Architecture, Place
from workloads.nn.outline import filled, outline
from workloads.nn.projections.base import Projection
from workloads.nn.scaling import take_in_multipliers
from workloads.nn.transformer import Transformer


def dense_shape(config: ModelConfig) -> ModelConfig:
    """Return the shape of the dense model that computes what a trained model does."""
    without = {"ffn": FFNConfig(), "guide": None, "growth": None, "scaling": None}
    return config.model_copy(update=without)


@torch.no_grad()
def dense_parameters(model: Transformer) -> dict[str, Tensor]:
    """Return the parameters of the dense model that computes what `model` does: each projection's
    factors, and its guide where it has one, are multiplied out, and the multipliers of a transfer
    rule taken in."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for name, module in model.named_modules():
        if isinstance(module, Projection):
            for own, _ in module.named_parameters():
                if own != "bias":
                    del parameters[f"{name}.{own}"]
            merged = module.dense_weight() if module.guide is None else module.merge()
            parameters[f"{name}.weight"] = merged.detach()
    take_in_multipliers(parameters, model.config)
    return parameters


def full_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Return the shapes of a dense model's parameters, with all the biases that there can be."""
    full = dense_shape(config).model_copy(update={"bias": True})
    model = outline(full, guided=False, norm_biases=False)
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def shape_at(place: Place, shapes: Mapping[str, torch.Size]) -> tuple[int, ...]:
    """Return the shape of the tensor that has this place."""
    count, *rest = shapes[place.parameter]
    rows = place.rows
    return (len(rows) if isinstance(rows, Tensor) else len(range(count)[rows]), *rest)


def outgoing(
    architecture: Architecture, model: Transformer, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the tensors of the architecture, by name. Biases that the model lacks are zero."""
    parameters, shapes = dense_parameters(model), full_shapes(model.config)
    tensors = {}
    for name, place in architecture.places():
        parameter = parameters.get(place.parameter)
        if parameter is None:
            parameter = torch.zeros(shapes[place.parameter])
        tensors[name] = parameter[place.rows].to("cpu", dtype).contiguous()
    return tensors


def incoming(
    architecture: Architecture,
    config: ModelConfig,
    tensor: Callable[[str], Tensor],
    dtype: torch.dtype,
) -> Transformer:
    """Return the model of the architecture's tensors, each of which `tensor` gives by its name.

    It has biases where the architecture has some everywhere, or any bias is not zero.
    """
    parameters = {n: torch.zeros(shape, dtype=dtype) for n, shape in full_shapes(config).items()}
    for name, place in architecture.places():
        parameters[place.parameter][place.rows] = tensor(name).to(dtype)
    biases = [name for name in parameters if name.endswith(".bias")]
    biased = config.bias or any(bool(parameters[name].any()) for name in biases)
    for name in biases if not biased else ():
        del parameters[name]
    shape = config.model_copy(update={"bias": biased})
    return filled(outline(shape, guided=False, norm_biases=False), parameters, {}, dtype)
