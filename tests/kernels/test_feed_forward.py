"""The fused FFN against the dense matrices of its projections, and torch's own activations."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kernels import feed_forward, switches
from kernels.block_dense import BlockDense, block_dense
from kernels.block_shuffle import BlockShuffle
from kernels.factored import Factorization, Factors
from tests.kernels.checks import LAYOUTS, contiguous, errors, one_at_a_time
from tests.kernels.operations import BLOCK_DENSE, BLOCK_SHUFFLE

ACTIVATIONS = ["gelu", "gelu_tanh", "swiglu"]
DENSE = {BlockDense: BLOCK_DENSE.dense, BlockShuffle: BLOCK_SHUFFLE.dense}


@dataclass(frozen=True)
class Case:
    """An FFN of n features and `hidden` activations between its two projections."""

    factorization: type[Factorization]
    n: int
    hidden: int
    blocks: int

    def draw(self, activation: str, bias: bool = True) -> tuple[Factors, Factors]:
        """Draw the weights of fc1 and fc2."""
        wide = self.hidden * 2 if activation == "swiglu" else self.hidden
        return self._projection(self.n, wide, bias), self._projection(self.hidden, self.n, bias)

    def _projection(self, n: int, m: int, bias: bool) -> Factors:
        """Draw weights with 2 inner features a block where the factorization leaves it open."""
        is_dense = self.factorization is BlockDense
        inner = 2 if is_dense else min(n, m) // self.blocks
        v = torch.randn(self.blocks, inner, n // self.blocks)
        u_shape = (m, 2 * self.blocks) if is_dense else (self.blocks, m // self.blocks, inner)
        return Factors(v, torch.randn(u_shape), torch.randn(m) if bias else None)

    def __str__(self) -> str:
        return f"{self.factorization.__name__}-{self.n}-{self.hidden}-{self.blocks}"


# Wide, narrow, one block, odd sizes.
DENSE_CASES = [Case(BlockDense, 9, 15, 3), Case(BlockDense, 15, 5, 1)]
SHUFFLE_CASES = [Case(BlockShuffle, 6, 14, 2), Case(BlockShuffle, 15, 10, 5)]
BATCHES = [(2, 5), (), (1,), (3,), (2, 3, 4)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    # A few tokens each, so that several are needed, and the last is ragged.
    monkeypatch.setattr(feed_forward, "CHUNK_BYTES", 15 * 8 * 4)


def by_dense_matrices(
    factorization: type[Factorization], x: Tensor, first: Factors, second: Factors, activation: str
) -> Tensor:
    """Compute the FFN with both projections as dense matrices."""

    def linear(x: Tensor, weights: Factors) -> Tensor:
        y = x @ DENSE[factorization](weights.v, weights.u).T
        return y if weights.bias is None else y + weights.bias

    z = linear(x, first)
    if activation == "swiglu":
        gate, value = z.chunk(2, -1)
        h = gate * torch.sigmoid(gate) * value
    elif activation == "gelu":
        h = z * 0.5 * (1 + torch.erf(z / 2**0.5))
    else:
        h = z * 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3)))
    return linear(h, second)


def leaves(x: Tensor, *factors: Factors, dtype: torch.dtype) -> list[Tensor]:
    """Copy x and all weights that there are as leaves that need gradients."""
    tensors = [t for t in itertools.chain([x], *factors) if t is not None]
    return [t.detach().to(dtype, copy=True).requires_grad_() for t in tensors]


def differentiated(
    function: Callable[..., Tensor],
    factorization: type[Factorization],
    tensors: list[Tensor],
    activation: str,
    direction: Tensor,
) -> dict[str, Tensor]:
    """Return y and all gradients, by name, in float64."""
    x, *rest = tensors
    half = len(rest) // 2
    pairs = [Factors(*part, *[None] * (3 - half)) for part in (rest[:half], rest[half:])]
    y = function(factorization, x, *pairs, activation)
    grads = torch.autograd.grad(y, tensors, direction.to(y))
    names = ("y", "x", *(f"{name}{side}" for side in (1, 2) for name in ("v", "u", "b")[:half]))
    return {n: t.detach().double() for n, t in zip(names, (y, *grads), strict=True)}


@pytest.mark.parametrize(
    ("case", "batch", "activation", "bias"),
    [
        *one_at_a_time(DENSE_CASES, BATCHES, ACTIVATIONS, [True, False]),
        *one_at_a_time(SHUFFLE_CASES, BATCHES, ACTIVATIONS, [True, False]),
    ],
    ids=str,
)
def test_float64_is_the_composition(
    case: Case, batch: tuple[int, ...], activation: str, bias: bool
) -> None:
    pair = case.draw(activation, bias)
    x, direction = torch.randn(*batch, case.n), torch.randn(*batch, case.n)
    found, wanted = (
        differentiated(
            function,
            case.factorization,
            leaves(x, *pair, dtype=torch.float64),
            activation,
            direction,
        )
        for function in (feed_forward.feed_forward, by_dense_matrices)
    )
    assert max(errors(found, wanted).values()) < 1e-12


@pytest.mark.parametrize(
    ("factorization", "activation"),
    [(BlockDense, "gelu"), (BlockShuffle, "gelu_tanh"), (BlockShuffle, "swiglu")],
)
def test_float32_errs_by_rounding_only(
    factorization: type[Factorization], activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_forward, "CHUNK_BYTES", 256 * 4 * 50)
    pair = Case(factorization, 64, 256, 4).draw(activation)
    x, direction = torch.randn(7, 31, 64), torch.randn(7, 31, 64)
    found, wanted = (
        differentiated(
            function, factorization, leaves(x, *pair, dtype=dtype), activation, direction
        )
        for function, dtype in (
            (feed_forward.feed_forward, torch.float32),
            (by_dense_matrices, torch.float64),
        )
    )
    assert max(errors(found, wanted).values()) <= 2e-6


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout is not contiguous])
@pytest.mark.parametrize("case", [DENSE_CASES[0], *SHUFFLE_CASES], ids=str)
def test_any_layout_of_x_and_of_the_gradient(
    case: Case, layout: Callable[[Tensor], Tensor]
) -> None:
    first, second = case.draw("gelu")
    x, direction = torch.randn(3, 5, case.n), torch.randn(3, 5, case.n)
    plain = feed_forward.feed_forward(case.factorization, x.requires_grad_(), first, second, "gelu")
    plain.backward(direction)
    other = layout(x.detach()).requires_grad_()
    y = feed_forward.feed_forward(case.factorization, other, first, second, "gelu")
    y.backward(layout(direction))
    torch.testing.assert_close(y, plain)
    torch.testing.assert_close(other.grad, x.grad)


@pytest.mark.parametrize("case", [DENSE_CASES[0], SHUFFLE_CASES[0]], ids=str)
def test_no_tokens(case: Case) -> None:
    first, second = case.draw("gelu")
    tensors = leaves(torch.randn(0, 3, case.n), first, second, dtype=torch.float32)
    pair = Factors(*tensors[1:4]), Factors(*tensors[4:])
    y = feed_forward.feed_forward(case.factorization, tensors[0], *pair, "gelu")
    assert y.shape == (0, 3, case.n)
    assert not any(grad.any() for grad in torch.autograd.grad(y.sum(), tensors))


def test_differentiating_twice_is_refused() -> None:
    first, second = SHUFFLE_CASES[0].draw("gelu")
    x = torch.randn(5, 6, requires_grad=True)
    y = feed_forward.feed_forward(BlockShuffle, x, first, second, "gelu")
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_inside_a_checkpoint() -> None:
    first, second = SHUFFLE_CASES[0].draw("gelu")
    x = torch.randn(5, 6, requires_grad=True)
    y = feed_forward.feed_forward(BlockShuffle, x, first, second, "gelu")
    (wanted,) = torch.autograd.grad(y.square().sum(), x)
    again = checkpoint(
        feed_forward.feed_forward, BlockShuffle, x, first, second, "gelu", use_reentrant=False
    )
    (found,) = torch.autograd.grad(again.square().sum(), x)
    torch.testing.assert_close(found, wanted)


def test_keeps_half_of_what_the_composition_keeps() -> None:
    first, second = Case(BlockDense, 16, 64, 2).draw("gelu")
    x = torch.randn(100, 16, requires_grad=True)
    composed = kept(lambda: block_dense(F.gelu(block_dense(x, *first)), *second))
    fused = kept(lambda: feed_forward.feed_forward(BlockDense, x, first, second, "gelu"))
    assert fused < 0.65 * composed


def kept(function: Callable[[], Tensor]) -> int:
    """Count the bytes saved for the backward pass, each storage once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = function()
    assert y.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_leaves_narrow_low_precision_and_switched_off_ones_to_others(dtype: torch.dtype) -> None:
    wide = feed_forward.LEAST_WIDE
    assert not feed_forward.suits(torch.zeros(1), wide - 1)
    assert not feed_forward.suits(torch.zeros(1, dtype=dtype), wide)
    with torch.autocast("cpu", torch.bfloat16):
        assert not feed_forward.suits(torch.zeros(1), wide)
    assert feed_forward.suits(torch.zeros(1), wide)
    with switches.reference("feed_forward"):
        assert not feed_forward.suits(torch.zeros(1), wide)
