"""BlockShuffle against the dense matrix that its definition, entry by entry, multiplies out to."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.block_shuffle import block_shuffle, definition
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
# (n, m, blocks): wider, narrower and square, odd sizes, one block and many.
CASES = [(9, 15, 3), (15, 10, 5), (6, 14, 2), (9, 9, 3), (5, 7, 1), (66, 34, 2), (32, 128, 4)]
over_cases = pytest.mark.parametrize(("n", "m", "blocks"), CASES)


def draw(n: int, m: int, blocks: int, batch: tuple[int, ...], bias: bool = True) -> Inputs:
    k = min(n, m)
    shapes = (blocks, k // blocks, n // blocks), (blocks, m // blocks, k // blocks)
    return inputs(shapes, batch, n, m if bias else None)


def dense(v: Tensor, u: Tensor) -> Tensor:
    """(m, n): the product of the two sparse factors, each filled in by its definition."""
    blocks, k_block, n_block = v.shape
    m_block = u.shape[1]
    k = blocks * k_block
    # h[b k/B + r] takes V[b, r, i] of x[b n/B + i].
    first = [
        (b * k_block + r, b * n_block + i)
        for b, r, i in itertools.product(range(blocks), range(k_block), range(n_block))
    ]
    # y[s B + l] takes U[l, s, r] of h[r B + l].
    second = [
        (s * blocks + block, r * blocks + block)
        for block, s, r in itertools.product(range(blocks), range(m_block), range(k_block))
    ]
    left = scatter(np.array(second).T, u, (m_block * blocks, k))
    return left @ scatter(np.array(first).T, v, (k, blocks * n_block))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 5), (2, 3, 4)])
@over_cases
def test_float64_is_the_definition(
    n: int, m: int, blocks: int, batch: tuple[int, ...], bias: bool, device: torch.device
) -> None:
    case = draw(n, m, blocks, batch, bias)
    direction = torch.randn(*batch, m)
    ours = case.to(device, torch.float64)
    found = gradients(ours, block_shuffle(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13


@pytest.mark.parametrize(("n", "m", "blocks"), [(66, 130, 2), (512, 128, 4), (128, 512, 4)])
def test_float32_errs_by_rounding_only(n: int, m: int, blocks: int, device: torch.device) -> None:
    case = draw(n, m, blocks, (7, 31))
    direction = torch.randn(7, 31, m)
    ours = case.to(device, torch.float32)
    found = gradients(ours, block_shuffle(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) <= 2e-6


@pytest.mark.parametrize("layout", LAYOUTS)
@over_cases
def test_any_layout_of_x_and_of_the_gradient(
    n: int, m: int, blocks: int, layout: Callable[[Tensor], Tensor], device: torch.device
) -> None:
    case = draw(n, m, blocks, (3, 5))
    direction = torch.randn(3, 5, m)
    ours = case.to(device, torch.float64)
    y = block_shuffle(layout(ours.x.cpu()).to(device), *ours.tensors[1:])
    found = gradients(ours, y, layout(direction.double()))
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13


def test_gradients_of_a_sum_come_expanded(device: torch.device) -> None:
    case = draw(9, 15, 3, (4,))
    ours = case.to(device, torch.float64)
    block_shuffle(*ours.tensors).sum().backward()
    wanted = expected(dense, case, torch.ones(4, 15))
    assert ours.x.grad is not None
    torch.testing.assert_close(ours.x.grad.cpu(), wanted["x"])


@over_cases
def test_no_tokens(n: int, m: int, blocks: int, device: torch.device) -> None:
    ours = draw(n, m, blocks, (0, 3)).to(device, torch.float32)
    y = block_shuffle(*ours.tensors)
    assert y.shape == (0, 3, m)
    y.sum().backward()
    for tensor in ours.tensors[1:]:
        assert tensor is not None and tensor.grad is not None and not tensor.grad.any()


def test_the_wide_side_stays_feature_major() -> None:
    up, down = draw(8, 32, 2, (3, 5)), draw(32, 8, 2, (3, 5))
    wide = block_shuffle(*up.to(CPU, torch.float32).tensors)
    assert wide.flatten(0, 1).T.is_contiguous()
    x = feature_major(down.x).requires_grad_()
    y = block_shuffle(x, down.v, down.u, down.bias)
    assert y.is_contiguous()
    (d_x,) = torch.autograd.grad(y.sum(), x)
    assert d_x.stride() == x.stride()


@pytest.mark.parametrize("needed", range(4))
def test_only_the_gradient_that_is_needed(needed: int) -> None:
    case = draw(9, 15, 3, (4,))
    direction = torch.randn(4, 15)
    wanted = expected(dense, case, direction)
    tensors = [t.detach().double() for t in case.tensors if t is not None]
    tensors[needed].requires_grad_()
    block_shuffle(*tensors).backward(direction.double())
    found = [t.grad for t in tensors]
    assert [grad is not None for grad in found] == [i == needed for i in range(4)]
    torch.testing.assert_close(found[needed], wanted[("x", "v", "u", "bias")[needed]])


@pytest.mark.parametrize(("n", "m", "blocks"), [(6, 8, 2), (9, 6, 3)])
def test_gradcheck(n: int, m: int, blocks: int, device: torch.device) -> None:
    ours = draw(n, m, blocks, (2,)).to(device, torch.float64)
    tensors = tuple(t for t in ours.tensors if t is not None)
    assert torch.autograd.gradcheck(block_shuffle, tensors)


def test_differentiating_twice_is_refused() -> None:
    ours = draw(6, 8, 2, (2,)).to(CPU, torch.float64)
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(block_shuffle(*ours.tensors).sum(), ours.x, create_graph=True)


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "m"), [(64, 256), (256, 64)])
def test_bfloat16_autocast_is_as_good_as_torchs(
    n: int, m: int, x_dtype: torch.dtype, device: torch.device
) -> None:
    case = draw(n, m, 2, (6, 50))
    direction = torch.randn(6, 50, m)
    wanted = expected(dense, case, direction)
    found = {}
    for operation in (block_shuffle, definition):
        ours = case.to(device, torch.float32)
        with torch.autocast(device.type, torch.bfloat16):
            y = operation(ours.x.to(x_dtype), *ours.tensors[1:])
        assert y.dtype == torch.bfloat16
        found[operation] = errors(gradients(ours, y, direction), wanted)
    for name, error in found[block_shuffle].items():
        assert error <= 1e-2, name
        assert error <= 1.5 * found[definition][name], name


def test_backward_inside_autocast() -> None:
    case = draw(64, 256, 2, (50,))
    direction = torch.randn(50, 256)
    ours = case.to(CPU, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(ours, block_shuffle(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) <= 1e-2


def test_inside_a_checkpoint(device: torch.device) -> None:
    case = draw(15, 10, 5, (2, 7))
    direction = torch.randn(2, 7, 10)
    ours = case.to(device, torch.float64)
    y = checkpoint(block_shuffle, *ours.tensors, use_reentrant=False)
    assert isinstance(y, Tensor)
    found = gradients(ours, y, direction)
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13


def test_compiles_without_a_break(device: torch.device) -> None:
    case = draw(15, 30, 5, (2, 7))
    direction = torch.randn(2, 7, 30)
    ours = case.to(device, torch.float64)
    # AOT autograd runs as for Inductor, without waiting for a C++ compiler.
    compiled = torch.compile(block_shuffle, fullgraph=True, backend="aot_eager")
    found = gradients(ours, compiled(*ours.tensors), direction)
    assert max(errors(found, expected(dense, case, direction)).values()) < 1e-13
