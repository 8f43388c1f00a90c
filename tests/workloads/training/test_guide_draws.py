"""Which guides run under `reduce_flops`: draws by share, seed and step, and what they train."""

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from tests.workloads.guided import matrix, projections
from tests.workloads.small_runs import pico
from workloads.config.rates import guide_weight
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.data.loader import BatchLoader
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import add_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.optim.build import build_optimizer


def draws(config: RunConfig, steps: range) -> np.ndarray:
    """(steps, guided projections): which guides run, told by which factor a pass reads."""
    model = Transformer(config.model)
    assert config.model.guide is not None
    add_guides(model, config.model.guide)
    guided = [module for module in projections(model) if module.guide is not None]
    for module in guided:
        assert module.guide is not None
        nn.init.constant_(module.guide, math.inf)
    found = []
    for step in steps:
        set_guides(model, step, config)
        with torch.no_grad():
            ones = (module(torch.ones(1, _inputs(module))) for module in guided)
            found.append([not bool(y.isfinite().all()) for y in ones])
    return np.array(found)


def _inputs(module: Projection) -> int:
    assert module.guide is not None
    return module.guide.shape[1]


def many_steps(**changes: Any) -> RunConfig:
    config = pico(
        model={"num_layers": 3, "hidden_dim": 8, "ffn_dim": 12, "num_heads": 2},
        ffn={"kind": "lowrank", "rank": 4, "keep_first_dense": False},
        budget={"steps": 4000},
        guide={"ratio": 0.5, **changes.pop("guide", {})},
        **changes,
    )
    assert config.phases[0].steps == 2000
    return config


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_guide_runs_with_the_probability_of_its_share(
    schedule: Literal["cosine", "linear"],
) -> None:
    config = many_steps(guide={"schedule": schedule})
    assert config.model.guide is not None
    ran = draws(config, range(2000))
    assert ran.shape == (2000, 6)
    shares = [guide_weight(step, 2000, config.model.guide) for step in range(2000)]
    # In ten stretches, and each projection by itself: within five standard deviations.
    for stretch in np.split(np.arange(2000), 10):
        expected = np.array(shares)[stretch].mean()
        deviation = math.sqrt(expected * (1 - expected) / ran[stretch].size)
        assert abs(ran[stretch].mean() - expected) < 5 * deviation + 1e-3
    np.testing.assert_allclose(ran.mean(axis=0), 0.5, atol=5 * 0.35 / math.sqrt(2000))
    assert ran[0].all()  # At a share of 1.


def test_draws_differ_between_projections_steps_and_seeds_and_repeat() -> None:
    config = many_steps()
    middle = range(900, 1100)  # A share of about a half.
    ran = draws(config, middle)
    for first in range(6):
        for second in range(first):
            assert 0.3 < (ran[:, first] != ran[:, second]).mean() < 0.7
    assert 0.3 < (ran[1:] != ran[:-1]).mean() < 0.7
    assert 0.3 < (draws(many_steps(seed=1), middle) != ran).mean() < 0.7
    # A function of seed and step: neither of what was drawn before nor of other generators.
    torch.manual_seed(77)
    np.random.seed(77)
    assert (draws(config, range(950, 1000)) == ran[50:100]).all()


def test_draws_are_the_same_on_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    config = many_steps()
    alone = draws(config, range(900, 950))
    for worker in (0, 3):
        monkeypatch.setattr("workloads.training.parallel.rank", lambda worker=worker: worker)
        monkeypatch.setattr("workloads.training.parallel.world_size", lambda: 4)
        assert (draws(config, range(900, 950)) == alone).all()


def test_without_reduce_flops_every_guide_runs() -> None:
    assert draws(many_steps(guide={"reduce_flops": False}), range(0, 2000, 100)).all()


def test_a_guide_left_out_leaves_the_whole_structured_path() -> None:
    config = many_steps()
    model = Transformer(config.model).double()
    assert config.model.guide is not None
    add_guides(model, config.model.guide)
    for module in projections(model):
        assert module.guide is not None
        nn.init.normal_(module.guide)
    runs: list[bool] = []
    for step in (1000, 1001, 1002):
        set_guides(model, step, config)
        at = guide_weight(step, 2000, config.model.guide)
        for module in projections(model):
            assert module.guide is not None
            guide, structured = module.guide.detach(), matrix(module)
            x = torch.randn(5, _inputs(module), dtype=torch.float64)
            share = at if module.guide_runs else 0.0
            # The share is kept in the precision of training.
            torch.testing.assert_close(
                module(x).detach(), x @ (share * guide + (1 - share) * structured).T
            )
            # Evaluation draws nothing.
            module.eval()
            torch.testing.assert_close(
                module(x).detach(), x @ (at * guide + (1 - at) * structured).T
            )
            module.train()
            runs.append(module.guide_runs)
    assert 3 < sum(runs) < 15, "one of the two was hardly tested"


def test_reduced_flops_train_the_drawn_guides_alone(stdlib: TokenDataset) -> None:
    """A guide left out has no gradient, and its optimizer does not move it."""
    config = many_steps()
    model = Transformer(config.model)
    assert config.model.guide is not None
    add_guides(model, config.model.guide)
    optimizer = build_optimizer(model, config.optimizer)
    loader = BatchLoader(stdlib.split("train"), 128, 1, 0)
    moved: set[bool] = set()
    for step in range(1000, 1004):
        set_guides(model, step, config)
        before = {
            id(m): m.guide.detach().clone() for m in projections(model) if m.guide is not None
        }
        inputs, targets = loader.batch(step)
        model(inputs, targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for module in projections(model):
            assert module.guide is not None
            same = torch.equal(module.guide, before[id(module)])
            assert same != module.guide_runs
            moved.add(same)
    assert moved == {True, False}
