"""Self-guided linear against the one dense matrix that guide and factors add up to."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from kernels import self_guided, switches
from kernels.block_dense import BlockDense
from kernels.block_shuffle import BlockShuffle
from kernels.factored import Factorization, Factors
from tests.kernels.checks import LAYOUTS, contiguous, errors, one_at_a_time
from tests.kernels.operations import BLOCK_DENSE, Case, dense_case, shuffle_case

# Wider, narrower and square, odd sizes, one block and many; the blocks of the last two shuffles
# share whole numbers of features, those of the others do not, or are one.
DENSE_CASES = [
    dense_case(9, 15, 6, 3),
    dense_case(15, 7, 10, 5),
    dense_case(5, 7, 3, 1),
    dense_case(66, 33, 30, 2),
]
SHUFFLE_CASES = [
    shuffle_case(15, 10, 5),
    shuffle_case(6, 14, 2),
    shuffle_case(5, 7, 1),
    shuffle_case(9, 9, 3),
    shuffle_case(64, 32, 4),
]
LARGE = [dense_case(128, 512, 84, 4), dense_case(512, 128, 84, 1), shuffle_case(128, 512, 4)]
FEW, MANY = (2, 1), (7, 31)
BATCHES, BIASES, SHARES = [MANY, FEW, (2, 20, 3), ()], [True, False], [0.7, 1.0, 0.0]
Function = Callable[[type[Factorization], Tensor, Tensor, Tensor, Factors], Tensor]


def over(*cases: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=str)


def factorization(case: Case) -> type[Factorization]:
    return BlockDense if case.kind is BLOCK_DENSE else BlockShuffle


@dataclass(frozen=True)
class Drawn:
    """Tensors of one call, and the gradient by its result."""

    case: Case
    share: float
    tensors: dict[str, Tensor]
    direction: Tensor


def draw(case: Case, batch: tuple[int, ...], share: float = 0.7, bias: bool = True) -> Drawn:
    inputs = case.draw(batch, bias)
    tensors = dict(zip(("x", "v", "u", "bias"), inputs.tensors, strict=True))
    found = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    found["guide"] = torch.randn(case.m, case.n)
    return Drawn(case, share, found, torch.randn(*batch, case.m))


def ours(
    drawn: Drawn,
    function: Function = self_guided.self_guided,
    dtype: torch.dtype = torch.float64,
    layout: Callable[[Tensor], Tensor] = contiguous,
) -> dict[str, Tensor]:
    """Return y and all gradients, in float64, with x in the given layout."""
    leaf = {n: t.to(dtype, copy=True).requires_grad_() for n, t in drawn.tensors.items()}
    weights = Factors(leaf["v"], leaf["u"], leaf.get("bias"))
    share = torch.tensor(drawn.share, dtype=dtype)
    y = function(factorization(drawn.case), layout(leaf["x"]), leaf["guide"], share, weights)
    y.backward(layout(drawn.direction).to(y))
    found = {"y": y}
    for name, tensor in leaf.items():
        assert tensor.grad is not None and tensor.grad.dtype == tensor.dtype, name
        found[name] = tensor.grad
    return {name: tensor.detach().double() for name, tensor in found.items()}


def wanted(drawn: Drawn) -> dict[str, Tensor]:
    """Return what `ours` does, computed in float64 with the dense matrix of guide and factors."""
    leaf = {n: t.double().requires_grad_() for n, t in drawn.tensors.items()}
    dense = drawn.case.kind.dense(leaf["v"], leaf["u"])
    y = leaf["x"] @ (drawn.share * leaf["guide"] + (1 - drawn.share) * dense).T
    y = y + leaf["bias"] if "bias" in leaf else y
    grads = torch.autograd.grad(y, list(leaf.values()), drawn.direction.double())
    return {"y": y.detach(), **dict(zip(leaf, grads, strict=True))}


@over(*DENSE_CASES, *SHUFFLE_CASES, shuffle_case(32, 128, 4))
def test_factors_multiply_out_to_their_matrix(case: Case) -> None:
    _, v, u, _ = case.draw(()).to(torch.device("cpu"), torch.float64).tensors
    found, expected = factorization(case).dense(v, u), case.kind.dense(v, u)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    direction = torch.randn(case.m, case.n, dtype=torch.float64)
    grads = (torch.autograd.grad(matrix, [v, u], direction) for matrix in (found, expected))
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "batch", "bias", "share"),
    [
        *one_at_a_time(DENSE_CASES, BATCHES, BIASES, SHARES),
        *one_at_a_time(SHUFFLE_CASES, BATCHES, BIASES, SHARES),
    ],
    ids=str,
)
def test_float64_is_the_mixture(
    case: Case, batch: tuple[int, ...], bias: bool, share: float
) -> None:
    drawn = draw(case, batch, share, bias)
    for function in (self_guided.self_guided, self_guided.reference):
        assert max(errors(ours(drawn, function), wanted(drawn)).values()) < 1e-13


@over(*LARGE)
def test_float32_errs_by_rounding_only(case: Case) -> None:
    drawn = draw(case, (7, 91))
    assert max(errors(ours(drawn, dtype=torch.float32), wanted(drawn)).values()) <= 2e-6


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout is not contiguous])
@over(dense_case(15, 7, 10, 5), shuffle_case(6, 14, 2), shuffle_case(64, 32, 4))
def test_any_layout_of_x_and_of_the_gradient(
    case: Case, layout: Callable[[Tensor], Tensor]
) -> None:
    drawn = draw(case, MANY)
    assert max(errors(ours(drawn, layout=layout), wanted(drawn)).values()) < 1e-13


@over(dense_case(15, 7, 10, 5), shuffle_case(6, 14, 2))
def test_no_tokens(case: Case) -> None:
    found = ours(draw(case, (0, 3)))
    assert found["y"].shape == (0, 3, case.m)
    assert not any(tensor.any() for tensor in found.values())


@over(*LARGE)
def test_bfloat16_autocast_is_as_good_as_the_reference(case: Case) -> None:
    drawn = draw(case, (7, 91))
    with torch.autocast("cpu", torch.bfloat16):
        both = [
            errors(ours(drawn, function, torch.float32), wanted(drawn))
            for function in (self_guided.self_guided, self_guided.reference)
        ]
    for name, error in both[0].items():
        assert error <= 1e-2, name
        assert error <= 1.5 * both[1][name], name


@over(*LARGE)
def test_autocast_rounds_the_sum_once(case: Case) -> None:
    """Guide and factors are added in float32, so the guide is not rounded to bfloat16."""
    parts = draw(case, ()).tensors
    weights = Factors(parts["v"], 1e-6 * parts["u"], None)
    share = torch.tensor(1 - 2**-10)
    with torch.autocast("cpu", torch.bfloat16):
        merged = self_guided.merge(factorization(case), parts["guide"], share, weights)
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged, share * parts["guide"], rtol=1e-6, atol=1e-6)


@over(dense_case(8, 12, 4, 2), shuffle_case(12, 8, 2))
def test_many_tokens_take_one_dense_product(case: Case) -> None:
    """The FLOPs of merging do not depend on the number of tokens."""

    def count(tokens: int, function: Function = self_guided.self_guided) -> int:
        with FlopCounterMode(display=False) as counter:
            ours(draw(case, (tokens,)), function)
        return counter.get_total_flops()

    per_token = 3 * 2 * case.n * case.m
    assert count(200) - count(100) == 100 * per_token
    merge = case.n * case.m * case.rank // (case.blocks if case.kind is BLOCK_DENSE else 2**2)
    assert count(100) == 100 * per_token + 3 * 2 * merge
    # For so few, multiplying the factors out would cost more.
    assert count(2) == count(2, self_guided.reference) < 2 * per_token + 3 * 2 * merge
    with switches.reference("self_guided"):
        assert count(100) == count(100, self_guided.reference) > 100 * per_token + 3 * 2 * merge


@over(dense_case(6, 8, 4, 2), shuffle_case(8, 4, 2))
def test_gradcheck(case: Case) -> None:
    tensors = [t.double().requires_grad_() for t in draw(case, (9,)).tensors.values()]
    share = torch.tensor(0.3, dtype=torch.float64)

    def call(x: Tensor, v: Tensor, u: Tensor, bias: Tensor, guide: Tensor) -> Tensor:
        return self_guided.self_guided(factorization(case), x, guide, share, Factors(v, u, bias))

    assert torch.autograd.gradcheck(call, tensors)


@over(dense_case(15, 7, 10, 5), shuffle_case(32, 16, 4))
def test_inside_a_checkpoint_and_compiled_without_a_break(case: Case) -> None:
    drawn = draw(case, MANY)

    def again(*arguments: object) -> Tensor:
        y = checkpoint(self_guided.self_guided, *arguments, use_reentrant=False)
        assert isinstance(y, Tensor)
        return y

    # AOT autograd runs as for Inductor, without waiting for a C++ compiler.
    compiled = torch.compile(self_guided.self_guided, fullgraph=True, backend="aot_eager")
    for function in (again, compiled):
        assert max(errors(ours(drawn, function), wanted(drawn)).values()) < 1e-13


def test_a_merge_takes_the_gradients_of_several_passes_at_once() -> None:
    """Merging is linear, so the gradients of several passes may be summed before its backward."""
    case = shuffle_case(9, 15, 3)
    drawn = draw(case, MANY)
    leaf = {n: t.double().requires_grad_() for n, t in drawn.tensors.items()}
    share = torch.tensor(drawn.share, dtype=torch.float64)
    weights = Factors(leaf["v"], leaf["u"], leaf["bias"])
    merged = self_guided.merge(BlockShuffle, leaf["guide"], share, weights)
    leaf_merge = merged.detach().requires_grad_()
    for x, direction in zip(leaf["x"], drawn.direction.double(), strict=True):
        F.linear(x, leaf_merge, leaf["bias"]).backward(direction)
    merged.backward(leaf_merge.grad)
    found = {name: tensor.grad for name, tensor in leaf.items()}
    expected = wanted(drawn)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-12, atol=1e-12)
