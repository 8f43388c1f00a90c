"""Triton kernels that add a bias and activate in one pass, and compute both gradients in another.

Everything is computed in fp32. The backward pass computes the activation again. Each of its
programs handles some columns of a group of rows and writes their column sums, a partial gradient
by the bias. The partial gradients are then summed in a fixed order, so that results repeat exactly.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_ROWS, BLOCK_COLUMNS, WARPS = 8, 128, 4
# Rows of one group; the partial gradients by the bias are smaller than z by this factor.
GROUP_ROWS = 128
ACTIVATIONS = ("gelu", "gelu_tanh", "swiglu")

# Constants are the right operands of products: the interpreter would treat a tensor multiplied from
# the left by a constant as a constant itself.
SQRT_HALF: tl.constexpr = tl.constexpr(0.7071067811865476)
NORMAL: tl.constexpr = tl.constexpr(0.3989422804014327)  # 1 / sqrt(2 pi)
SLOPE: tl.constexpr = tl.constexpr(0.7978845608028654)  # sqrt(2 / pi)
CUBIC: tl.constexpr = tl.constexpr(0.044715)


def activate_rows(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """Return activation(z + bias) in the dtype of z.

    Args:
        z: (..., m); each row is contiguous.
        bias: (m,) or None.
        activation: one of ACTIVATIONS; another raises KeyError.
    """
    rows = z.reshape(-1, z.shape[-1])
    width = _width(rows, activation)
    h = rows.new_empty(len(rows), width)
    if h.numel():
        launch: Any = activate_kernel[_grid(len(rows), width, BLOCK_ROWS)]
        launch(
            rows,
            rows if bias is None else bias.contiguous(),
            h,
            len(rows),
            width,
            rows.stride(0),
            ACTIVATION=activation,
            BIAS=bias is not None,
            BLOCK_ROWS=BLOCK_ROWS,
            BLOCK_COLUMNS=BLOCK_COLUMNS,
            num_warps=WARPS,
        )
    return h.view(*z.shape[:-1], width)


def differentiate_rows(
    d_h: Tensor, z: Tensor, bias: Tensor | None, activation: str
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients by z (..., m) and by the bias (m,), None if there is no bias.

    d_h is the gradient by the result of `activate_rows`.
    """
    rows = z.reshape(-1, z.shape[-1])
    width = _width(rows, activation)
    d_z = torch.empty_like(rows, memory_format=torch.contiguous_format)
    grid = _grid(len(rows), width, GROUP_ROWS)
    partial_d_bias = rows.new_empty(grid[0], rows.shape[1], dtype=torch.float32)
    if d_z.numel():
        launch: Any = differentiate_kernel[grid]
        launch(
            d_h.reshape(-1, width).contiguous(),
            rows,
            rows if bias is None else bias.contiguous(),
            d_z,
            partial_d_bias,
            len(rows),
            width,
            rows.stride(0),
            ACTIVATION=activation,
            BIAS=bias is not None,
            GROUP_ROWS=GROUP_ROWS,
            BLOCK_ROWS=BLOCK_ROWS,
            BLOCK_COLUMNS=BLOCK_COLUMNS,
            num_warps=WARPS,
        )
    d_bias = None if bias is None else partial_d_bias.sum(0).to(bias.dtype)
    return d_z.view(z.shape), d_bias


def _width(rows: Tensor, activation: str) -> int:
    """Return the number of features of the result."""
    if activation not in ACTIVATIONS:
        raise KeyError(activation)
    return rows.shape[1] // 2 if activation == "swiglu" else rows.shape[1]


def _grid(rows: int, columns: int, block_rows: int) -> tuple[int, int]:
    return -(-rows // block_rows), -(-columns // BLOCK_COLUMNS)


@triton.jit
def activate_kernel(
    z,
    bias,
    h,
    rows,
    width,
    z_stride,
    ACTIVATION: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """Fill a block of h (rows, width) with the activation of z + bias."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    column = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)[None, :]
    inside = (row < rows) & (column < width)
    a = _load_biased(z + row * z_stride, bias, column, inside, width, BIAS)
    if ACTIVATION == "swiglu":
        value = _load_biased(z + row * z_stride, bias, width + column, inside, 2 * width, BIAS)
        y = a * tl.sigmoid(a) * value
    elif ACTIVATION == "gelu":
        y = 0.5 * a * (1.0 + tl.erf(a * SQRT_HALF))
    else:
        y = a * tl.sigmoid((a + a * a * a * CUBIC) * (2.0 * SLOPE))
    tl.store(h + row * width + column, y.to(h.dtype.element_ty), mask=inside)


@triton.jit
def differentiate_kernel(
    d_h,
    z,
    bias,
    d_z,
    partial_d_bias,
    rows,
    width,
    z_stride,
    ACTIVATION: tl.constexpr,
    BIAS: tl.constexpr,
    GROUP_ROWS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """Fill d_z for a group of rows, and the group's row of `partial_d_bias` with column sums."""
    group = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)[None, :]
    z_width = 2 * width if ACTIVATION == "swiglu" else width
    sums = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    value_sums = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for start in range(0, GROUP_ROWS, BLOCK_ROWS):
        row = group * GROUP_ROWS + start + tl.arange(0, BLOCK_ROWS)[:, None]
        inside = (row < rows) & (column < width)
        d_y = tl.load(d_h + row * width + column, mask=inside, other=0.0).to(tl.float32)
        a = _load_biased(z + row * z_stride, bias, column, inside, width, BIAS)
        out = d_z + row * z_width + column
        if ACTIVATION == "swiglu":
            value = _load_biased(z + row * z_stride, bias, width + column, inside, z_width, BIAS)
            sigmoid = tl.sigmoid(a)
            d_value = d_y * a * sigmoid
            d_a = d_y * value * sigmoid * (1.0 + a * (1.0 - sigmoid))
            tl.store(out + width, d_value.to(d_z.dtype.element_ty), mask=inside)
            value_sums += d_value
        elif ACTIVATION == "gelu":
            normal_cdf = 0.5 * (1.0 + tl.erf(a * SQRT_HALF))
            d_a = d_y * (normal_cdf + a * NORMAL * tl.exp(-0.5 * a * a))
        else:
            sigmoid = tl.sigmoid((a + a * a * a * CUBIC) * (2.0 * SLOPE))
            slope = (a * a * (3.0 * CUBIC) + 1.0) * (2.0 * SLOPE)
            d_a = d_y * sigmoid * (1.0 + a * (1.0 - sigmoid) * slope)
        tl.store(out, d_a.to(d_z.dtype.element_ty), mask=inside)
        sums += d_a
    if BIAS:
        inside = column < width
        out = partial_d_bias + group * z_width + column
        tl.store(out, tl.sum(sums, 0)[None, :], mask=inside)
        if ACTIVATION == "swiglu":
            tl.store(out + width, tl.sum(value_sums, 0)[None, :], mask=inside)


@triton.jit
def _load_biased(row, bias, column, inside, width, BIAS: tl.constexpr):
    a = tl.load(row + column, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        a += tl.load(bias + column, mask=column < width, other=0.0).to(tl.float32)
    return a
