"""Rotations against complex numbers in float64, and the fast path against the reference."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels import switches
from kernels.rotary import reference, rotary
from tests.kernels.checks import one_at_a_time

SHAPES = [(2, 3, 5, 8), (7, 6), (2, 0, 4, 6), (1, 1, 1, 2)]
LIMITS = {torch.float64: 1e-14, torch.float32: 2e-6}


def angles(time: int, size: int) -> Tensor:
    """Draw (2, time, size) cosines and sines of random angles, each twice."""
    angle = torch.randn(time, size // 2, dtype=torch.float64).repeat(1, 2)
    return torch.stack([angle.cos(), angle.sin()])


def by_complex_numbers(x: Tensor, rotation: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    phase = torch.complex(rotation[0, ..., :half], rotation[1, ..., :half])
    rotated = torch.complex(x[..., :half], x[..., half:]) * phase
    return torch.cat([rotated.real, rotated.imag], dim=-1)


@pytest.mark.parametrize(
    ("function", "shape", "dtype"),
    one_at_a_time([rotary, reference], SHAPES, [torch.float64, torch.float32]),
)
def test_values_and_gradients(
    function: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    limit = LIMITS[dtype]
    rotation = angles(*shape[-2:])
    x, direction = torch.randn(2, *shape, dtype=torch.float64)
    exact = x.clone().requires_grad_()
    wanted = by_complex_numbers(exact, rotation)
    (wanted_grad,) = torch.autograd.grad(wanted, exact, direction)
    ours = x.to(dtype).requires_grad_()
    found = function(ours, rotation.to(dtype))
    (found_grad,) = torch.autograd.grad(found, ours, direction.to(dtype))
    for one, other in ((found, wanted), (found_grad, wanted_grad)):
        assert one.dtype == dtype and one.shape == other.shape
        assert (one.double() - other).norm() <= limit * other.norm()


def test_views_and_positions_of_each_row() -> None:
    wide = torch.randn(2, 5, 3 * 8, requires_grad=True)
    heads = wide[..., 8:16].unflatten(-1, (2, 4)).transpose(1, 2)
    # Every row of a batch of its own positions, as in decoding.
    rotation = angles(2 * 5, 4).float().view(2, 2, 1, 5, 4)
    found = [
        torch.autograd.grad(y.square().sum(), wide, retain_graph=True)[0]
        for y in (rotary(heads, rotation), reference(heads, rotation))
    ]
    torch.testing.assert_close(rotary(heads, rotation), reference(heads, rotation))
    torch.testing.assert_close(*found)


def test_others_run_as_defined() -> None:
    x, rotation = torch.randn(5, 4), angles(5, 4).float()
    low = rotary(x.bfloat16(), rotation)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, reference(x.bfloat16(), rotation))
    with switches.reference("rotary"):
        assert torch.equal(rotary(x, rotation), reference(x, rotation))
    compiled = torch.compile(rotary, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, rotation), reference(x, rotation))
