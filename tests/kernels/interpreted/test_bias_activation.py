"""The kernels of bias and activation, forward and backward, in fp32."""

from __future__ import annotations

import pytest
import torch

from kernels.cuda.bias_activation import activate_rows, differentiate_rows
from tests.kernels.activations import ACTIVATIONS, formula
from tests.kernels.checks import one_at_a_time


# In one block, and in several with ragged ends; more rows than a group of the bias gradient has.
@pytest.mark.parametrize(
    ("size", "activation", "with_bias"),
    one_at_a_time([(131, 129), (1, 1), (3, 5), (9, 130)], ACTIVATIONS, [True, False]),
)
def test_rows(size: tuple[int, int], activation: str, with_bias: bool) -> None:
    rows, width = size
    z_width = 2 * width if activation == "swiglu" else width
    wide = torch.full((rows, z_width + 2), float("nan"))  # z has gaps between its rows.
    z = wide[:, 1:-1]
    z.copy_(torch.randn(rows, z_width) * 3)
    bias = torch.randn(z_width) if with_bias else None
    d_h = torch.randn(rows, width)
    h, d_z, d_bias = formula(z, bias, activation, d_h)
    found = activate_rows(z, bias, activation), *differentiate_rows(d_h, z, bias, activation)
    assert (found[2] is None) == (d_bias is None)
    for ours, wanted in zip(found, (h, d_z, d_bias), strict=True):
        if ours is not None and wanted is not None:
            assert ours.shape == wanted.shape
            assert float((ours - wanted).norm() / wanted.norm()) <= 2e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_any_leading_shape_and_no_rows(activation: str) -> None:
    bias = torch.randn(6)
    for shape in ((6,), (2, 3, 6), (0, 6)):
        z = torch.randn(shape)
        h = activate_rows(z, bias, activation)
        d_z, d_bias = differentiate_rows(torch.ones_like(h), z, bias, activation)
        wanted = formula(z, bias, activation, torch.ones_like(h))
        for ours, expected in zip((h, d_z, d_bias), wanted, strict=True):
            assert ours is not None and expected is not None
            torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
