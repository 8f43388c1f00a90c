"""BlockDense against the dense matrix that its definition, entry by entry, multiplies out to."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.block_dense import block_dense, definition
from tests.kernels.checks import (
    LAYOUTS,
    Inputs,
    errors,
    expected,
    feature_major,
    gradients,
    inputs,
    scatter,
)

CPU = torch.device("cpu")
# (n, m, rank, blocks): wider, narrower and square, odd sizes, one block and many.
CASES = [(9, 15, 6, 3), (15, 7, 10, 5), (6, 13, 4, 2), (9, 9, 9, 3), (5, 7, 3, 1), (66, 33, 30, 2)]
over_cases = pytest.mark.parametrize(("n", "m", "rank", "blocks"), CASES)


def draw(
    n: int, m: int, rank: int, blocks: int, batch: tuple[int, ...], bias: bool = True
) -> Inputs:
    shapes = (blocks, rank // blocks, n // blocks), (m, rank)
    return inputs(shapes, batch, n, m if bias else None)


def dense(v: Tensor, u: Tensor) -> Tensor:
    """(m, n): U times the block-diagonal factor, filled in by its definition."""
    blocks, inner_block, n_block = v.shape
    # Inner b rank/B + r takes V[b, r, i] of x[b n/B + i].
    places = [
        (b * inner_block + r, b * n_block + i)
        for b, r, i in itertools.product(range(blocks), range(inner_block), range(n_block))
    ]
    return u @ scatter(np.array(places).T, v, (blocks * inner_block, blocks * n_block))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 5), (2, 3, 4)])
@over_cases
def test_float64_is_the_definition(
    n: int, m: int, rank: int, blocks: int, batch: tuple[int, ...], bias: bool, device: torch.device
) -> None:
    case = draw(n, m, rank, blocks, batch, bias)
    direction = torch.randn(*batch, m)
    ours = case.to(device, torch.float64)
    found = gradients(ours, block_dense(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13


@pytest.mark.parametrize(
    ("n", "m", "rank", "blocks"), [(66, 130, 50, 2), (512, 128, 84, 4), (128, 512, 84, 4)]
)
def test_float32_errs_by_rounding_only(
    n: int, m: int, rank: int, blocks: int, device: torch.device
) -> None:
    case = draw(n, m, rank, blocks, (7, 31))
    direction = torch.randn(7, 31, m)
    ours = case.to(device, torch.float32)
    found = gradients(ours, block_dense(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) <= 2e-6


@pytest.mark.parametrize("layout", LAYOUTS)
@over_cases
def test_any_layout_of_x_and_of_the_gradient(
    n: int, m: int, rank: int, blocks: int, layout: Callable[[Tensor], Tensor], device: torch.device
) -> None:
    case = draw(n, m, rank, blocks, (3, 5))
    direction = torch.randn(3, 5, m)
    ours = case.to(device, torch.float64)
    y = block_dense(layout(ours.x.cpu()).to(device), *ours.tensors[1:])
    found = gradients(ours, y, layout(direction.double()))
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13


def test_gradients_of_a_sum_come_expanded(device: torch.device) -> None:
    case = draw(9, 15, 6, 3, (4,))
    ours = case.to(device, torch.float64)
    block_dense(*ours.tensors).sum().backward()
    wanted = expected(dense, case, torch.ones(4, 15))
    assert ours.x.grad is not None
    torch.testing.assert_close(ours.x.grad.cpu(), wanted["x"])


@over_cases
def test_no_tokens(n: int, m: int, rank: int, blocks: int, device: torch.device) -> None:
    ours = draw(n, m, rank, blocks, (0, 3)).to(device, torch.float32)
    y = block_dense(*ours.tensors)
    assert y.shape == (0, 3, m)
    y.sum().backward()
    for tensor in ours.tensors[1:]:
        assert tensor is not None and tensor.grad is not None and not tensor.grad.any()


def test_the_gradient_of_x_has_its_layout() -> None:
    ours = draw(32, 8, 12, 2, (3, 5))
    x = feature_major(ours.x).requires_grad_()
    (d_x,) = torch.autograd.grad(block_dense(x, ours.v, ours.u, ours.bias).sum(), x)
    assert d_x.stride() == x.stride()


@pytest.mark.parametrize("needed", range(4))
def test_only_the_gradient_that_is_needed(needed: int) -> None:
    case = draw(9, 15, 6, 3, (4,))
    direction = torch.randn(4, 15)
    wanted = expected(dense, case, direction)
    tensors = [t.detach().double() for t in case.tensors if t is not None]
    tensors[needed].requires_grad_()
    block_dense(*tensors).backward(direction.double())
    found = [t.grad for t in tensors]
    assert [grad is not None for grad in found] == [i == needed for i in range(4)]
    torch.testing.assert_close(found[needed], wanted[("x", "v", "u", "bias")[needed]])


@pytest.mark.parametrize(("n", "m", "rank", "blocks"), [(6, 8, 4, 2), (9, 5, 6, 3)])
def test_gradcheck(n: int, m: int, rank: int, blocks: int, device: torch.device) -> None:
    ours = draw(n, m, rank, blocks, (2,)).to(device, torch.float64)
    tensors = tuple(t for t in ours.tensors if t is not None)
    assert torch.autograd.gradcheck(block_dense, tensors)


def test_differentiating_twice_is_refused() -> None:
    ours = draw(6, 8, 4, 2, (2,)).to(CPU, torch.float64)
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(block_dense(*ours.tensors).sum(), ours.x, create_graph=True)


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "m"), [(64, 256), (256, 64)])
def test_bfloat16_autocast_is_as_good_as_torchs(
    n: int, m: int, x_dtype: torch.dtype, device: torch.device
) -> None:
    case = draw(n, m, 42, 2, (6, 50))
    direction = torch.randn(6, 50, m)
    wanted = expected(dense, case, direction)
    found = {}
    for operation in (block_dense, definition):
        ours = case.to(device, torch.float32)
        with torch.autocast(device.type, torch.bfloat16):
            y = operation(ours.x.to(x_dtype), *ours.tensors[1:])
        assert y.dtype == torch.bfloat16
        found[operation] = errors(gradients(ours, y, direction), wanted)
    for name, error in found[block_dense].items():
        assert error <= 1e-2, name
        assert error <= 1.5 * found[definition][name], name


def test_backward_inside_autocast() -> None:
    case = draw(64, 256, 42, 2, (50,))
    direction = torch.randn(50, 256)
    ours = case.to(CPU, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(ours, block_dense(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) <= 1e-2


def test_inside_a_checkpoint(device: torch.device) -> None:
    case = draw(15, 7, 10, 5, (2, 7))
    direction = torch.randn(2, 7, 7)
    ours = case.to(device, torch.float64)
    y = checkpoint(block_dense, *ours.tensors, use_reentrant=False)
    assert isinstance(y, Tensor)
    found = gradients(ours, y, direction)
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13


def test_compiles_without_a_break(device: torch.device) -> None:
    case = draw(15, 7, 10, 5, (2, 7))
    direction = torch.randn(2, 7, 7)
    ours = case.to(device, torch.float64)
    # AOT autograd runs as for Inductor, without waiting for a C++ compiler.
    compiled = torch.compile(block_dense, fullgraph=True, backend="aot_eager")
    found = gradients(ours, compiled(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13
