"""The linear cross entropy against its formula in float64, and in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from kernels import cross_entropy, switches
from kernels.cross_entropy import SUM, linear_cross_entropy, reference
from tests.kernels.checks import LAYOUTS, one_at_a_time
from tests.kernels.losses import IGNORED, Loss, Problem, errors_of, solution

CPU = torch.device("cpu")
# (batch, features, vocabulary): one token, one entry, odd, several chunks and a ragged last one.
SHAPES = [((2, 3, 11), 16, 64), ((), 5, 7), ((1,), 3, 1), ((5,), 123, 17), ((3, 7), 9, 41)]
over_reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in cross_entropy.CHUNK_BYTES:
        monkeypatch.setitem(cross_entropy.CHUNK_BYTES, device, 8 * 41 * 4)


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fill all memory that is allocated and not written with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


# Numbers


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("shape", "reduction"), one_at_a_time(SHAPES, ["mean", "sum"]))
def test_float64_is_the_formula(shape: tuple[tuple[int, ...], int, int], reduction: str) -> None:
    batch, n, vocabulary = shape
    problem = Problem.draw(batch, n, vocabulary, ignored=len(batch), reduction=reduction)
    if problem.targets.numel() == 1:
        problem.targets.fill_(vocabulary - 1)
    wanted = solution(problem)
    for loss in (linear_cross_entropy, reference):
        found = problem.to(CPU, torch.float64).solve(loss)
        for name, value in found.items():
            torch.testing.assert_close(value, wanted[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "vocabulary", "reduction"), [(64, 257, "mean"), (123, 1000, "sum"), (33, 5003, "mean")]
)
def test_float32_errs_by_rounding_only(
    n: int, vocabulary: int, reduction: str, device: torch.device
) -> None:
    problem = Problem.draw((3, 43), n, vocabulary, ignored=20, reduction=reduction)
    bound = 2e-6 if device.type == "cpu" else 1e-5
    found = errors_of(problem, linear_cross_entropy, torch.float32, device)
    assert max(found.values()) <= bound


def test_gradcheck(device: torch.device) -> None:
    problem = Problem.draw((7,), 3, 41).to(device, torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, w: linear_cross_entropy(x, w, problem.targets),
        (problem.features, problem.weight),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_is_as_good_as_torchs(dtype: torch.dtype, device: torch.device) -> None:
    """Under autocast of fp32 weights, and in bf16 altogether."""
    problem = Problem.draw((500,), 64, 300)
    problem = replace(problem, features=problem.features / 4, weight=problem.weight / 4)

    def under_autocast(loss: Loss) -> dict[str, float]:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.float32):
            return errors_of(problem, loss, dtype, device)

    ours, torchs = under_autocast(linear_cross_entropy), under_autocast(reference)
    for name, error in ours.items():
        assert error <= 1e-2, name
        assert error <= 1.5 * torchs[name] + 1e-7, name


def test_many_chunks_lose_nothing_in_bfloat16() -> None:
    """The weight's gradient is summed in fp32: a sum in bf16 would stall at 256 times a term."""
    problem = Problem.draw((4000,), 4, 10)
    problem.targets.fill_(3)
    same = replace(problem, features=torch.ones(4000, 4))
    found = errors_of(same, linear_cross_entropy, torch.bfloat16)
    assert found["weight"] <= 1e-2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_the_features(
    layout: Callable[[Tensor], Tensor], device: torch.device
) -> None:
    problem = Problem.draw((5, 9), 12, 41)
    ours = problem.to(device, torch.float64)
    laid_out = replace(ours, features=layout(problem.features).double().to(device))
    laid_out.features.requires_grad_()
    wanted = solution(problem)
    for name, value in laid_out.solve(linear_cross_entropy).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-12, atol=1e-12)


def test_a_tied_weight_gets_both_gradients() -> None:
    weight = torch.randn(41, 6, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(41, (30,))
    grads = [
        torch.autograd.grad(loss(F.embedding(tokens, weight), weight, tokens.roll(-1)), weight)[0]
        for loss in (linear_cross_entropy, reference)
    ]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


# What does not count


@over_reductions
def test_no_target_counts(reduction: str, device: torch.device) -> None:
    problem = Problem.draw((6,), 5, 41, ignored=6, reduction=reduction)
    for loss in (linear_cross_entropy, reference):
        found = problem.to(device, torch.float32).solve(loss)
        assert found["loss"].isnan() if reduction == "mean" else found["loss"] == 0
        assert not found["features"].any() and not found["weight"].any()


@over_reductions
def test_no_tokens(reduction: str, device: torch.device) -> None:
    problem = Problem.draw((0, 3), 5, 41, ignored=0, reduction=reduction)
    found = problem.to(device, torch.float32).solve(linear_cross_entropy)
    assert found["loss"].isnan() if reduction == "mean" else found["loss"] == 0
    assert found["features"].shape == (0, 3, 5)
    assert found["weight"].shape == (41, 5) and not found["weight"].any()


def test_another_index_is_ignored() -> None:
    problem = replace(Problem.draw((30,), 5, 7, ignored=0), ignore_index=2)
    assert max(errors_of(problem, linear_cross_entropy, torch.float64).values()) < 1e-13


def test_a_target_outside_the_vocabulary_is_an_error() -> None:
    problem = Problem.draw((3,), 5, 7, ignored=0)
    problem.targets[1] = 7
    with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
        problem.to(CPU, torch.float32).solve(linear_cross_entropy)


def test_another_reduction_is_an_error() -> None:
    problem = Problem.draw((3,), 5, 7, reduction="none")
    with pytest.raises(ValueError, match="'none'; give 'mean' or 'sum'"):
        problem.to(CPU, torch.float32).solve(linear_cross_entropy)


# What is not computed


def products(problem: Problem) -> int:
    """Count the FLOPs of one pass, in units of the FLOPs of the logits."""
    with FlopCounterMode(display=False) as counter:
        linear_cross_entropy(problem.features, problem.weight, problem.targets)
    flops = 2 * problem.targets.numel() * problem.weight.numel()
    assert counter.get_total_flops() % flops == 0
    return counter.get_total_flops() // flops


def test_only_what_is_needed_is_computed() -> None:
    problem = Problem.draw((13,), 5, 41).to(CPU, torch.float32)
    assert products(problem) == 3
    for name in ("features", "weight"):
        frozen = replace(problem, **{name: getattr(problem, name).detach()})
        assert products(frozen) == 2
        assert name not in frozen.solve(linear_cross_entropy)
        assert max(errors_with_leaves(frozen).values()) <= 2e-6
    with torch.no_grad():
        assert products(problem) == 1
        loss = linear_cross_entropy(problem.features, problem.weight, problem.targets)
    assert not loss.requires_grad
    wanted = solution(problem)["loss"]
    torch.testing.assert_close(loss.double(), wanted, rtol=2e-6, atol=0)


def errors_with_leaves(problem: Problem) -> dict[str, float]:
    found, wanted = problem.solve(linear_cross_entropy), solution(problem)
    return {n: float((v - wanted[n]).norm() / wanted[n].norm()) for n, v in found.items()}


def test_a_second_backward_pass_gives_the_same() -> None:
    problem = Problem.draw((13,), 5, 41).to(CPU, torch.float32)
    loss = linear_cross_entropy(problem.features, problem.weight, problem.targets)
    leaves = problem.features, problem.weight
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for one, two in zip(first, torch.autograd.grad(loss, leaves), strict=True):
        assert torch.equal(one, two)


def test_differentiating_twice_is_refused() -> None:
    problem = Problem.draw((13,), 5, 41).to(CPU, torch.float32)
    loss = linear_cross_entropy(problem.features, problem.weight, problem.targets)
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(loss, problem.features, create_graph=True)


# How it is reached


def test_its_switch_turns_it_off() -> None:
    problem = Problem.draw((50,), 8, 41).to(CPU, torch.float32)
    arguments = problem.features, problem.weight, problem.targets
    with switches.reference("cross_entropy"):
        assert torch.equal(linear_cross_entropy(*arguments), reference(*arguments))
    node = linear_cross_entropy(*arguments, reduction="sum").grad_fn
    assert node is not None and "linear_cross_entropy" in node.name()


def test_the_custom_operator_keeps_to_its_contract(device: torch.device) -> None:
    for dtype, needs in ((torch.float32, (True, True)), (torch.bfloat16, (True, False))):
        problem = Problem.draw((13,), 5, 41).to(device, torch.float32)
        arguments = problem.features, problem.weight.requires_grad_(needs[1]), problem.targets
        torch.library.opcheck(SUM.op, (*arguments, IGNORED, dtype, *needs))


@pytest.mark.parametrize("autocast", [False, True])
def test_compiles_without_a_break(autocast: bool, device: torch.device) -> None:
    problem = Problem.draw((13,), 5, 41)

    def loss(*arguments: Any) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            return linear_cross_entropy(*arguments)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found = errors_of(problem, compiled, torch.float32, device)
    assert max(found.values()) <= (2e-2 if autocast else 2e-6)


def test_the_custom_operator_compiles() -> None:
    """On CUDA the operation is compiled as a custom operator."""
    problem = Problem.draw((13,), 5, 41)

    def loss(x: Tensor, w: Tensor, targets: Tensor, reduction: str, ignore_index: int) -> Tensor:
        assert reduction == "sum"
        return SUM.op(x, w, targets, ignore_index, x.dtype, True, True)[0]

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found = errors_of(replace(problem, reduction="sum"), compiled, torch.float32)
    assert max(found.values()) <= 2e-6


# What it is for


def test_thirty_steps_of_training_are_those_of_full_logits() -> None:
    tokens = torch.randint(257, (30, 64))

    def losses(loss: Loss) -> list[float]:
        torch.manual_seed(1)
        embedding, hidden = nn.Embedding(257, 24), nn.Linear(24, 24)
        weights = [*embedding.parameters(), *hidden.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=1e-2)
        found = []
        for step in tokens:
            features = hidden(embedding(step)).tanh()
            value = loss(features, embedding.weight, step.roll(-1))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            found.append(float(value.detach()))
        return found

    assert losses(linear_cross_entropy) == pytest.approx(losses(reference), abs=1e-4)
