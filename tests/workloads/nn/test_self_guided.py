"""Guides by their definitions: the share, their start, the mixture and its gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.workloads.guided import matrix, projections
from workloads.config.model import FFNConfig, GuideConfig, ModelConfig
from workloads.config.rates import guide_weight
from workloads.nn.ffn import projection_class
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import add_guides, drop_guides
from workloads.nn.transformer import Transformer

# (parametrization, n, m): wider, narrower and square, odd sizes.
CASES: list[tuple[FFNConfig, int, int]] = [
    (FFNConfig(kind="lowrank", rank=3), 7, 11),
    (FFNConfig(kind="lowrank", rank=5), 11, 5),
    (FFNConfig(kind="blockdense", rank=6, nblocks=3), 9, 15),
    (FFNConfig(kind="blockdense", rank=5, nblocks=5), 15, 7),
    (FFNConfig(kind="blockshuffle", nblocks=3), 9, 15),
    (FFNConfig(kind="blockshuffle", nblocks=5), 15, 10),
    (FFNConfig(kind="blockshuffle", nblocks=3), 9, 9),
]


def case_name(case: object) -> str:
    return f"{case.kind}-{case.rank}-{case.nblocks}" if isinstance(case, FFNConfig) else str(case)


over_cases = pytest.mark.parametrize(("ffn", "n", "m"), CASES, ids=case_name)
STRUCTURES = [
    FFNConfig(kind="lowrank", rank=5),
    FFNConfig(kind="blockdense", rank=6, nblocks=3),
    FFNConfig(kind="blockshuffle", nblocks=3),
]
over_kinds = pytest.mark.parametrize("ffn", STRUCTURES, ids=lambda ffn: ffn.kind)


def build(ffn: FFNConfig, n: int, m: int, bias: bool = True) -> Projection:
    """In float64, with random weights."""
    projection = projection_class(ffn.kind)(n, m, ffn, bias).double()
    for parameter in projection.parameters():
        nn.init.normal_(parameter)
    return projection


def shape(ffn: FFNConfig, **changes: Any) -> ModelConfig:
    sizes = {
        "vocab_size": 29,
        "block_size": 13,
        "num_layers": 3,
        "hidden_dim": 18,
        "ffn_dim": 45,
        "num_heads": 3,
    }
    return ModelConfig.model_validate(sizes | {"ffn": ffn} | changes)


# The share


def test_the_share_falls_from_1_to_0_along_its_schedule() -> None:
    cosine, linear = GuideConfig(ratio=0.5), GuideConfig(ratio=0.5, schedule="linear")
    for steps in (1, 2, 7, 100):
        found = [guide_weight(step, steps, cosine) for step in range(steps + 1)]
        angle = np.linspace(0, np.pi, steps + 1)
        np.testing.assert_allclose(found, (1 + np.cos(angle)) / 2, atol=1e-12)
        found = [guide_weight(step, steps, linear) for step in range(steps + 1)]
        np.testing.assert_allclose(found, np.linspace(1, 0, steps + 1), atol=1e-12)
    for guide in (cosine, linear):
        assert guide_weight(0, 7, guide) == 1.0
        assert guide_weight(7, 7, guide) == guide_weight(9, 7, guide) == 0.0


# The guide


@over_cases
def test_a_guide_starts_as_the_product(ffn: FFNConfig, n: int, m: int) -> None:
    projection = build(ffn, n, m)
    projection.add_guide("effective")
    assert projection.guide is not None and projection.guide.requires_grad
    assert projection.guide.is_contiguous()
    torch.testing.assert_close(projection.guide.detach(), matrix(projection))
    # It is a weight of its own: what becomes of it does not touch the factors, nor the reverse.
    with torch.no_grad():
        projection.guide.zero_()
    assert matrix(projection).abs().sum() > 0


@over_cases
def test_the_reference_guide_lacks_the_permutations_alone(ffn: FFNConfig, n: int, m: int) -> None:
    projection = build(ffn, n, m)
    projection.add_guide("reference")
    assert projection.guide is not None
    torch.testing.assert_close(projection.guide.detach(), matrix(projection, permuted=False))
    differs = not torch.allclose(projection.guide, matrix(projection))
    assert differs == (ffn.kind == "blockshuffle")


@pytest.mark.parametrize(
    ("ffn", "training"),
    [*((ffn, True) for ffn in STRUCTURES), (STRUCTURES[0], False)],
    ids=case_name,
)
def test_step_0_computes_the_unguided_function(ffn: FFNConfig, training: bool) -> None:
    """Whatever the share: both paths compute the same."""
    config = shape(ffn, guide=GuideConfig(ratio=0.5))
    model = Transformer(config).double().train(training)
    tokens = torch.randint(29, (2, 13))
    before = model(tokens).detach()
    assert config.guide is not None
    add_guides(model, config.guide)
    for share in (1.0, 0.3, 0.0):
        for module in projections(model):
            module.guide_weight.fill_(share)
        torch.testing.assert_close(model(tokens).detach(), before, rtol=1e-10, atol=1e-12)
    drop_guides(model)
    assert torch.equal(model(tokens), before)


def test_the_reference_guide_changes_the_function_of_blockshuffle() -> None:
    for ffn in STRUCTURES:
        guide = GuideConfig(ratio=0.5, init="reference")
        model = Transformer(shape(ffn, guide=guide)).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        tokens = torch.randint(29, (2, 13))
        before = model(tokens).detach()
        add_guides(model, guide)
        assert torch.allclose(model(tokens), before) == (ffn.kind != "blockshuffle")


@over_kinds
def test_structured_projections_are_guided_and_dense_ones_are_not(ffn: FFNConfig) -> None:
    for keep in (True, False):
        config = shape(ffn.model_copy(update={"keep_first_dense": keep}))
        model = Transformer(config)
        unguided = {name for name, _ in model.named_parameters()}
        add_guides(model, GuideConfig(ratio=0.5))
        added = {name for name, _ in model.named_parameters()} - unguided
        layers = range(1 if keep else 0, 3)
        assert added == {
            f"layers.{layer}.mlp.{side}.guide" for layer in layers for side in ("fc1", "fc2")
        }
        drop_guides(model)
        assert {name for name, _ in model.named_parameters()} == unguided


@pytest.mark.parametrize(
    ("ffn", "n", "m", "bias", "share"),
    [
        *((*case, True, 0.7) for case in CASES),
        *((*CASES[0], True, share) for share in (1.0, 0.0)),
        (*CASES[0], False, 0.7),
        (*CASES[-2], False, 0.0),
    ],
    ids=case_name,
)
def test_a_guided_projection_is_the_mixture_and_its_gradients(
    ffn: FFNConfig, n: int, m: int, bias: bool, share: float
) -> None:
    projection = build(ffn, n, m, bias)
    projection.add_guide("effective")
    assert projection.guide is not None
    nn.init.normal_(projection.guide)  # Apart from the product, as training makes it.
    projection.guide_weight.fill_(share)
    x = torch.randn(2, 3, n, dtype=torch.float64, requires_grad=True)
    y = projection(x)
    direction = torch.randn_like(y)
    y.backward(direction)

    # The mixture is linear in x with one matrix; factors' gradients through the chain rule, by
    # finite differences along random directions.
    guide, structured = projection.guide.detach(), matrix(projection)
    whole = share * guide + (1 - share) * structured
    added = projection.get_parameter("bias").detach() if bias else torch.zeros(m)
    flat_x, flat_direction = x.detach().reshape(-1, n), direction.reshape(-1, m)
    torch.testing.assert_close(y.detach().reshape(-1, m), flat_x @ whole.T + added)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.reshape(-1, n), flat_direction @ whole)
    outer = flat_direction.T @ flat_x
    assert projection.guide.grad is not None
    torch.testing.assert_close(projection.guide.grad, share * outer)
    if bias:
        torch.testing.assert_close(projection.get_parameter("bias").grad, flat_direction.sum(0))
    for name in ("u", "v"):
        factor = projection.get_parameter(name)
        along, step = torch.randn_like(factor), 1e-6
        values = []
        with torch.no_grad():
            for sign in (1, -2):
                factor += sign * step * along
                values.append(float(((1 - share) * matrix(projection) * outer).sum()))
            factor += step * along
        slope = (values[0] - values[1]) / (2 * step)
        assert factor.grad is not None
        assert float((factor.grad * along).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-7)
