"""Gradients are clipped, of parameters or of their masters, before anything takes them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workloads.optim.build import build_optimizer
from workloads.optim.kinds import OPTIMIZERS, of_run
from workloads.optim.update import layer_grad_norms, updated, use_gradients


class Layered(nn.Module):
    """Two layers, and a bias in none."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5, 3) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(3))


def with_gradients(seed: int = 0) -> Layered:
    model, draws = Layered(), torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.normal_(generator=draws)
        parameter.grad = torch.randn(parameter.shape, generator=draws)
    return model


def gradients_of(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("masters", [False, True])
def test_they_are_clipped_as_a_whole_and_gone_afterwards(masters: bool) -> None:
    model = with_gradients()
    given = gradients_of(model)
    build_optimizer(model, of_run(OPTIMIZERS["adamw"].options(), 0.1), on_cpu=masters)
    found: list[list[Tensor]] = []

    def use() -> None:
        own = [updated(parameter).grad for parameter in model.parameters()]
        found.append([gradient.clone() for gradient in own if gradient is not None])

    norm = use_gradients(model, use, max_norm=0.5)
    assert norm == pytest.approx(math.sqrt(sum(float(g.double().square().sum()) for g in given)))
    # A part at a time: each layer, and the rest, which comes first in the model.
    assert [len(part) for part in found] == ([2, 2, 1] if masters else [5])
    taken = found[2] + found[0] + found[1] if masters else found[0]
    for gradient, whole in zip(taken, given, strict=True):
        torch.testing.assert_close(gradient, whole * 0.5 / norm)
    assert all(p.grad is None and updated(p).grad is None for p in model.parameters())


@pytest.mark.parametrize("masters", [False, True])
@pytest.mark.parametrize(("entry", "loss"), [(math.inf, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_what_is_not_finite_is_left_out(entry: float, loss: float, masters: bool) -> None:
    model = with_gradients()
    build_optimizer(model, of_run(OPTIMIZERS["adamw"].options(), 0.1), on_cpu=masters)
    assert model.bias.grad is not None
    model.bias.grad[1] = entry
    use_gradients(model, lambda: pytest.fail("was called"), 1.0, loss)
    assert gradients_of(model) == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_updates_masters_as_it_updates_parameters(name: str) -> None:
    """To the last digit in fp32; parameters of bf16 are their masters rounded."""
    options = OPTIMIZERS[name].options.model_validate({"kind": name, "decay": "matrices"})
    states: list[dict[str, Any]] = []
    weights: list[list[Tensor]] = []
    for on_cpu in (False, True):
        model = with_gradients()
        optimizer = build_optimizer(model, of_run(options, 0.1), 64, on_cpu)
        for step in range(3):
            for own, other in zip(
                model.parameters(), with_gradients(step).parameters(), strict=True
            ):
                own.grad = other.grad
            config = of_run(options, 0.1)
            config.before_step(optimizer, step, lambda use, m=model: use_gradients(m, use, 1.0))
            for own, other in zip(model.parameters(), with_gradients(9).parameters(), strict=True):
                own.grad = other.grad
            use_gradients(model, optimizer.step, 1.0)
        parameters = list(model.parameters())
        assert all((updated(p) is not p) == on_cpu for p in parameters)
        states.append(
            {
                f"{i}.{k}": v
                for i, p in enumerate(parameters)
                for k, v in optimizer.state[updated(p)].items()
            }
        )
        weights.append([p.detach() for p in parameters])
    assert states[0].keys() == states[1].keys() and states[0]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=0, atol=0)
    for plain, mastered in zip(*weights, strict=True):
        assert torch.equal(plain, mastered)


def test_bf16_gradients_are_summed_in_fp32() -> None:
    model = Layered().bfloat16()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    norms = layer_grad_norms(model)
    assert norms == pytest.approx(
        dict.fromkeys(["layer_grad_norm/00", "layer_grad_norm/01"], math.sqrt(18 * 9))
    )
