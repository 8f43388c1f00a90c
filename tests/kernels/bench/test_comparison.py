"""Candidates and baselines: they compute the same."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kernels.bench.claims import Claim, FFNTask, LossTask, OperationTask, of_kernels
from kernels.bench.comparison import BASELINE, CANDIDATE, compare
from kernels.bench.ffn import FFN, STRUCTURED, Kind, Layer
from tests.kernels.checks import one_at_a_time

CPU = torch.device("cpu")


def passed(function: Callable[[Tensor], Tensor], x: Tensor, layer: FFN) -> dict[str, Tensor]:
    """Return y and the gradients by x and by all weights."""
    weights = [t for group in (*layer.matrices, *layer.factors) for t in group if t is not None]
    for tensor in weights:
        tensor.grad = None
    leaf = x.clone().requires_grad_()
    y = function(leaf)
    y.backward(torch.arange(y.numel()).view(y.shape).sin())
    grads = {f"{i}": t.grad for i, t in enumerate(weights) if t.grad is not None}
    assert leaf.grad is not None
    return {"y": y, "x": leaf.grad, **grads}


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("kind", STRUCTURED)
def test_the_fast_path_and_the_plain_formulation_agree(kind: Kind, guided: bool) -> None:
    torch.manual_seed(0)
    layer = FFN(Layer(kind, 32, 0.3125), CPU, guided)
    x = torch.randn(48, 32)
    fast, plain = passed(layer.fast, x, layer), passed(layer.plain, x, layer)
    # Two projections: x, y, factors and bias of each, and a guide of each.
    assert fast.keys() == plain.keys() and len(fast) == 2 + 2 * (4 if guided else 3)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer.fast(x), plain["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "width"), one_at_a_time(STRUCTURED, [512, 64, 768]))
def test_layers_count_their_weights(kind: Kind, width: int) -> None:
    for fraction in (0.625, 0.3125):
        layer = Layer(kind, width, fraction)
        built = FFN(layer, CPU)
        assert layer.weights == sum(f.v.numel() + f.u.numel() for f in built.factors)
        assert layer.fraction == pytest.approx(fraction, rel=0.08)


def test_the_ranks_are_those_of_the_recipes() -> None:
    ranks = [Layer(k, 512, s).rank for k in ("lowrank", "blockdense") for s in (0.625, 0.3125)]
    assert ranks == [256, 128, 352, 160]
    assert [Layer("blockshuffle", 512, s).blocks for s in (0.625, 0.3125)] == [2, 4]


def small(claim: Claim) -> Claim:
    """Return the same claim in miniature, at one fraction of the weights."""
    task = claim.task
    if isinstance(task, FFNTask):
        task = FFNTask(Layer(task.layer.kind, 32, 0.3125), 8, task.passes, task.guided)
    elif isinstance(task, LossTask):
        task = LossTask(tokens=8, width=16, vocabulary=50)
    elif isinstance(task, OperationTask):
        task = OperationTask(task.operation, (2, 2, 8, 4))
    return replace(claim, device="cpu", task=task)


# Each kind of task against each of its baselines, once.
SMALL = {
    (small(claim).task, claim.baseline): small(claim)
    for claim in [*of_kernels("cpu"), *of_kernels("cuda")]
}


@pytest.mark.parametrize("claim", SMALL.values(), ids=lambda claim: claim.name)
def test_every_claim_has_two_contenders(claim: Claim) -> None:
    comparison = compare(claim, CPU)
    assert comparison.contenders().keys() == {CANDIDATE, BASELINE}
    assert (comparison.flops is None) == isinstance(claim.task, OperationTask)
    for number in (-2, 0, 1):
        comparison.candidate(number)
        comparison.baseline(number)
