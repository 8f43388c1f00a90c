"""Optimizers behind one interface: what a second one needs, shown by one that is only here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import nn

from tests.workloads.small_runs import pico
from workloads.config.fingerprint import fingerprint, identity
from workloads.config.run import RunConfig
from workloads.cost.flops import (
    affordable_steps,
    hardware_flops,
    train_flops,
    train_flops_at,
    trained_params,
)
from workloads.cost.memory import peak_memory_bytes
from workloads.data.dataset import TokenDataset
from workloads.optim.adamw import AdamWConfig, AdamWOptions
from workloads.optim.build import build_optimizer, set_learning_rate
from workloads.optim.config import OptimizerConfig, OptimizerOptions, Trained, WithSampled
from workloads.optim.kinds import OPTIMIZERS, of_run
from workloads.training.trainer import train

# The toy is no row of the table, of which alone the fields of a run's configuration know.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


class ToyOptions(OptimizerOptions):
    """Gradient descent: no state, a tenth of the rate for biases, and 7 FLOPs a parameter."""

    state_bytes_per_param: ClassVar[int] = 0
    steps_seen: ClassVar[list[int]] = []

    kind: Literal["toy"]

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        parameters = list(model.parameters())
        return [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim < 2], "rate_multiplier": 0.1},
        ]

    def build(
        self, groups: list[dict[str, Any]], tokens_per_step: int | None
    ) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups)

    def extra_step_flops(self, trained: Trained, tokens: int, pass_flops: int) -> int:
        return 7 * trained.parameters + pass_flops // 1000

    def before_step(
        self, optimizer: torch.optim.Optimizer, step: int, with_sampled: WithSampled
    ) -> None:
        self.steps_seen.append(step)


class ToyConfig(ToyOptions, OptimizerConfig):
    pass


TOY = ToyConfig(kind="toy", learning_rate=0.5)


def with_toy(**changes: Any) -> RunConfig:
    return pico(**changes).model_copy(update={"optimizer": TOY})


def test_groups_have_their_own_multiple_of_the_rate() -> None:
    model = nn.Linear(3, 2)
    weight, bias = (parameter.detach().clone() for parameter in model.parameters())
    optimizer = build_optimizer(model, TOY)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05]
    set_learning_rate(optimizer, 0.2)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), weight - 0.2)
    torch.testing.assert_close(model.bias.detach(), bias - 0.02)


@pytest.mark.parametrize("guide", [None, {"ratio": 0.5}])
def test_what_a_step_adds_is_on_every_bill(guide: dict[str, Any] | None) -> None:
    adamw, toy = pico(guide=guide), with_toy(guide=guide)
    passes = [
        train_flops_at(adamw, step + 1) - train_flops_at(adamw, step)
        for step in range(adamw.total_steps)
    ]
    guided, alone = toy.phases[0], toy.phases[-1]
    added = [7 * trained_params(guided.model) + one // 1000 for one in passes[: guided.steps]]
    added += [7 * trained_params(alone.model) + one // 1000 for one in passes[guided.steps :]]
    assert train_flops(toy) == train_flops(adamw) + sum(added)
    assert train_flops_at(toy, 3) == train_flops_at(adamw, 3) + sum(added[:3])
    assert hardware_flops(toy) == hardware_flops(adamw) + sum(added)
    assert affordable_steps(toy.model, TOY, 8, train_flops(toy)) == toy.steps
    assert affordable_steps(toy.model, TOY, 8, train_flops(toy) - 1) == toy.steps - 1


@pytest.mark.parametrize("guide", [None, {"ratio": 0.5}])
def test_memory_counts_the_optimizers_own_state(guide: dict[str, Any] | None) -> None:
    adamw, toy = pico(guide=guide), with_toy(guide=guide)
    state = 8 * trained_params(adamw.model)
    assert peak_memory_bytes(adamw) - peak_memory_bytes(toy) == state


def test_a_run_trains_and_resumes_with_any_optimizer(
    stdlib: TokenDataset, tmp_path: Path, on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyOptions, "steps_seen", [])
    config = with_toy(budget={"steps": 7})
    result = train(config, stdlib, tmp_path / "whole")
    assert ToyOptions.steps_seen == list(range(7))
    asked = iter([False, False, True])
    with pytest.raises(Exception, match="stopped after step 3"):
        train(config, stdlib, tmp_path / "stopped", should_stop=lambda: next(asked))
    resumed = train(config, stdlib, tmp_path / "stopped")
    assert (resumed.resumed_step, resumed.val_loss) == (3, result.val_loss)


# The first optimizer


def test_the_state_that_is_declared_is_the_state_that_there_is() -> None:
    for name, kind in OPTIMIZERS.items():
        options = kind.options.model_validate({"kind": name})
        model = nn.Linear(30, 20)
        optimizer = build_optimizer(model, of_run(options, 1e-3), tokens_per_step=64)
        model(torch.ones(1, 30)).sum().backward()
        optimizer.step()
        state = [tensor for each in optimizer.state.values() for tensor in each.values()]
        found = sum(tensor.nbytes for tensor in state if tensor.ndim)
        assert found == 620 * kind.options.state_bytes_per_param


def test_adamw_is_the_kind_of_runs_that_name_none() -> None:
    named, unnamed = (pico(optimizer=options) for options in ({"kind": "adamw"}, {}))
    assert type(unnamed.optimizer) is AdamWConfig and named == unnamed
    tree = identity(unnamed, "abc")
    assert "kind" not in tree["optimizer"]
    del tree["data"]["fingerprint"]
    assert RunConfig.model_validate(tree).optimizer == unnamed.optimizer


def test_another_kind_stands_in_the_identity() -> None:
    tree = identity(with_toy(), "abc")
    assert tree["optimizer"]["kind"] == "toy" and "betas" not in tree["optimizer"]
    assert fingerprint(tree) != fingerprint(identity(pico(), "abc"))


def test_a_run_takes_the_options_and_its_rate() -> None:
    run = of_run(AdamWOptions(betas=(0.8, 0.9), max_grad_norm=3.0), 2e-3)
    assert run == AdamWConfig(betas=(0.8, 0.9), max_grad_norm=3.0, learning_rate=2e-3)
