"""The fused FFN against the dense matrices of its projections, and torch's own activations."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kernels import feed_forward, switches
from kernels.block_dense import BlockDense, block_dense
from kernels.block_shuffle import BlockShuffle
from kernels.factored import Factorization, Factors
from tests.kernels.checks import LAYOUTS, errors
from tests.kernels.operations import BLOCK_DENSE, BLOCK_SHUFFLE

ACTIVATIONS = ["gelu", "gelu_tanh", "swiglu"]
DENSE = {BlockDense: BLOCK_DENSE.dense, BlockShuffle: BLOCK_SHUFFLE.dense}
# (factorization, features, hidden, blocks): wide, narrow, one block, odd sizes.
CASES = [
    (BlockDense, 9, 15, 3),
    (BlockDense, 15, 5, 1),
    (BlockShuffle, 6, 14, 2),
    (BlockShuffle, 15, 10, 5),
]
over_cases = pytest.mark.parametrize(("factorization", "n", "hidden", "blocks"), CASES)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    # A few tokens each, so that several are needed, and the last is ragged.
    monkeypatch.setattr(feed_forward, "CHUNK_BYTES", 15 * 8 * 4)


def draw(
    factorization: type[Factorization], n: int, m: int, blocks: int, bias: bool = True
) -> Factors:
    """Weights from n to m features, with 2 inner features a block where the kind leaves it open."""
    inner = 2 if factorization is BlockDense else min(n, m) // blocks
    v = torch.randn(blocks, inner, n // blocks)
    flat = factorization is BlockDense
    u = torch.randn(m, 2 * blocks) if flat else torch.randn(blocks, m // blocks, inner)
    return Factors(v, u, torch.randn(m) if bias else None)


def weights(
    factorization: type[Factorization],
    n: int,
    hidden: int,
    blocks: int,
    activation: str,
    bias: bool = True,
) -> tuple[Factors, Factors]:
    wide = hidden * 2 if activation == "swiglu" else hidden
    return draw(factorization, n, wide, blocks, bias), draw(factorization, hidden, n, blocks, bias)


def by_dense_matrices(
    factorization: type[Factorization], x: Tensor, first: Factors, second: Factors, activation: str
) -> Tensor:
    """Both projections as dense matrices."""

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
    """Fresh leaves of x and all weights; without the biases where there are none."""
    tensors = [t for t in itertools.chain([x], *factors) if t is not None]
    return [t.detach().to(dtype, copy=True).requires_grad_() for t in tensors]


def differentiated(
    function: Callable[..., Tensor],
    factorization: type[Factorization],
    tensors: list[Tensor],
    activation: str,
    direction: Tensor,
) -> dict[str, Tensor]:
    """y and all gradients, in float64."""
    x, *rest = tensors
    half = len(rest) // 2
    pairs = [Factors(*part, *[None] * (3 - half)) for part in (rest[:half], rest[half:])]
    y = function(factorization, x, *pairs, activation)
    grads = torch.autograd.grad(y, tensors, direction.to(y))
    names = ("y", "x", *(f"{name}{side}" for side in (1, 2) for name in ("v", "u", "b")[:half]))
    return {n: t.detach().double() for n, t in zip(names, (y, *grads), strict=True)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 5), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
@over_cases
def test_float64_is_the_composition(
    factorization: type[Factorization],
    n: int,
    hidden: int,
    blocks: int,
    bias: bool,
    batch: tuple[int, ...],
    activation: str,
) -> None:
    pair = weights(factorization, n, hidden, blocks, activation, bias)
    x, direction = torch.randn(*batch, n), torch.randn(*batch, n)
    found, wanted = (
        differentiated(
            function, factorization, leaves(x, *pair, dtype=torch.float64), activation, direction
        )
        for function in (feed_forward.feed_forward, by_dense_matrices)
    )
    assert max(errors(found, wanted).values()) < 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("factorization", [BlockDense, BlockShuffle])
def test_float32_errs_by_rounding_only(
    factorization: type[Factorization], activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_forward, "CHUNK_BYTES", 256 * 4 * 50)
    pair = weights(factorization, 64, 256, 4, activation)
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


@pytest.mark.parametrize("layout", LAYOUTS)
@over_cases
def test_any_layout_of_x_and_of_the_gradient(
    factorization: type[Factorization],
    n: int,
    hidden: int,
    blocks: int,
    layout: Callable[[Tensor], Tensor],
) -> None:
    first, second = weights(factorization, n, hidden, blocks, "gelu")
    x, direction = torch.randn(3, 5, n), torch.randn(3, 5, n)
    plain = feed_forward.feed_forward(factorization, x.requires_grad_(), first, second, "gelu")
    plain.backward(direction)
    other = layout(x.detach()).requires_grad_()
    y = feed_forward.feed_forward(factorization, other, first, second, "gelu")
    y.backward(layout(direction))
    torch.testing.assert_close(y, plain)
    torch.testing.assert_close(other.grad, x.grad)


@over_cases
def test_no_tokens(factorization: type[Factorization], n: int, hidden: int, blocks: int) -> None:
    first, second = weights(factorization, n, hidden, blocks, "gelu")
    tensors = leaves(torch.randn(0, 3, n), first, second, dtype=torch.float32)
    pair = Factors(*tensors[1:4]), Factors(*tensors[4:])
    y = feed_forward.feed_forward(factorization, tensors[0], *pair, "gelu")
    assert y.shape == (0, 3, n)
    assert not any(grad.any() for grad in torch.autograd.grad(y.sum(), tensors))


def test_differentiating_twice_is_refused() -> None:
    first, second = weights(BlockShuffle, 6, 14, 2, "gelu")
    x = torch.randn(5, 6, requires_grad=True)
    y = feed_forward.feed_forward(BlockShuffle, x, first, second, "gelu")
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_inside_a_checkpoint() -> None:
    first, second = weights(BlockShuffle, 6, 14, 2, "gelu")
    x = torch.randn(5, 6, requires_grad=True)
    y = feed_forward.feed_forward(BlockShuffle, x, first, second, "gelu")
    (wanted,) = torch.autograd.grad(y.square().sum(), x)
    again = checkpoint(
        feed_forward.feed_forward, BlockShuffle, x, first, second, "gelu", use_reentrant=False
    )
    (found,) = torch.autograd.grad(again.square().sum(), x)
    torch.testing.assert_close(found, wanted)


def test_keeps_half_of_what_the_composition_keeps() -> None:
    first, second = weights(BlockDense, 16, 64, 2, "gelu")
    x = torch.randn(100, 16, requires_grad=True)
    composed = kept(lambda: block_dense(F.gelu(block_dense(x, *first)), *second))
    fused = kept(lambda: feed_forward.feed_forward(BlockDense, x, first, second, "gelu"))
    assert fused < 0.65 * composed


def kept(function: Callable[[], Tensor]) -> int:
    """Bytes saved for the backward pass, each storage once."""
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
def test_leaves_low_precision_and_what_is_switched_off_to_others(dtype: torch.dtype) -> None:
    assert not feed_forward.suits(torch.zeros(1, dtype=dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert not feed_forward.suits(torch.zeros(1))
    assert feed_forward.suits(torch.zeros(1))
    with switches.reference("feed_forward"):
        assert not feed_forward.suits(torch.zeros(1))
