"""Initial weights under a transfer rule, and a model's multipliers taken into its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workloads.config.model import ModelConfig
from workloads.optim.roles import role_of


@torch.no_grad()
def scale_initial_weights(model: nn.Module, factors: Mapping[str, float]) -> None:
    """Multiply the weights of a fresh model by the factors of their roles."""
    for name, parameter in model.named_parameters() if factors else ():
        parameter.mul_(factors.get(role_of(name), 1.0))


def take_in_multipliers(parameters: dict[str, Tensor], config: ModelConfig) -> None:
    """Change the parameters of a dense model so that it computes without multipliers what it did
    with those of `config`.

    The last norm takes in the multiplier of the logits, the last matrix of each sublayer that of
    what it adds, and the rows of the queries that of the scores.
    """
    multipliers = config.multipliers
    for name, parameter in parameters.items():
        role = role_of(name)
        if role.startswith("ln_f."):
            parameters[name] = parameter * multipliers.output
        elif role.startswith(("attention.o_linear.", "mlp.fc2.")):
            parameters[name] = parameter * multipliers.residual
        elif role.startswith("attention.qkv_linear."):
            factors = torch.ones(len(parameter), dtype=parameter.dtype, device=parameter.device)
            factors[: config.attn_dim] = multipliers.attention
            parameters[name] = parameter * factors.view(-1, *[1] * (parameter.ndim - 1))
