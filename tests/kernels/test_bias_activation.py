"""Bias and activation in one against their formulas in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels import switches
from kernels.bias_activation import (
    BIAS_ACTIVATION,
    BIAS_ACTIVATION_GRADIENTS,
    bias_activation,
    reference,
)
from tests.kernels.activations import ACTIVATIONS, formula
from tests.kernels.checks import LAYOUTS, one_at_a_time

Function = Callable[[Tensor, Tensor | None, str], Tensor]
over_activations = pytest.mark.parametrize("activation", ACTIVATIONS)


def draw(shape: tuple[int, ...], activation: str, with_bias: bool = True) -> list[Tensor | None]:
    """Draw z, the bias or none, and the gradient by the result."""
    width = shape[-1] // 2 if activation == "swiglu" else shape[-1]
    bias = torch.randn(shape[-1]) if with_bias else None
    return [torch.randn(shape), bias, torch.randn(*shape[:-1], width)]


def errors_of(
    function: Function,
    drawn: list[Tensor | None],
    activation: str,
    dtype: torch.dtype,
    device: torch.device,
    bias_dtype: torch.dtype | None = None,
) -> list[float]:
    """Return norm-relative errors of the result and of the gradients."""
    z, bias, direction = drawn
    assert z is not None and direction is not None
    z_ours = z.to(device, dtype).requires_grad_()
    bias_ours = None if bias is None else bias.to(device, bias_dtype or dtype).requires_grad_()
    leaves = [leaf for leaf in (z_ours, bias_ours) if leaf is not None]
    h = function(z_ours, bias_ours, activation)
    grads = torch.autograd.grad(h, leaves, direction.to(h))
    assert h.dtype == dtype and all(g.dtype == t.dtype for g, t in zip(grads, leaves, strict=True))
    # Errors are those of the operation, not of the rounding of what it was given.
    exact = formula(z_ours, bias_ours, activation, direction.to(h))
    wanted = [tensor for tensor in exact if tensor is not None]
    return [
        float((found.detach().cpu().double() - value).norm() / value.norm().clamp(min=1e-300))
        for found, value in zip((h, *grads), wanted, strict=True)
    ]


@pytest.mark.parametrize(
    ("activation", "with_bias", "shape"),
    one_at_a_time(
        ACTIVATIONS,
        [True, False],
        [(3, 5, 14), (6,), (1, 2), (0, 4), (37, 258)],
    ),
)
def test_float64_is_the_formula(
    activation: str, with_bias: bool, shape: tuple[int, ...], device: torch.device
) -> None:
    drawn = draw(shape, activation, with_bias)
    for function in (BIAS_ACTIVATION, reference):
        assert max(errors_of(function, drawn, activation, torch.float64, device)) < 1e-12


@pytest.mark.parametrize(("activation", "with_bias"), one_at_a_time(ACTIVATIONS, [True, False]))
def test_float32_errs_by_rounding_only(
    activation: str, with_bias: bool, device: torch.device
) -> None:
    drawn = draw((7, 300, 514), activation, with_bias)
    bound = 2e-6 if device.type == "cpu" else 1e-5
    assert max(errors_of(BIAS_ACTIVATION, drawn, activation, torch.float32, device)) <= bound


@pytest.mark.parametrize(
    ("activation", "bias_dtype"),
    one_at_a_time(ACTIVATIONS, [torch.float32, torch.bfloat16]),
)
def test_bfloat16_is_as_good_as_torchs(
    activation: str, bias_dtype: torch.dtype, device: torch.device
) -> None:
    drawn = draw((1000, 256), activation)
    ours, torchs = (
        errors_of(function, drawn, activation, torch.bfloat16, device, bias_dtype)
        for function in (BIAS_ACTIVATION, reference)
    )
    for error, of_torch in zip(ours, torchs, strict=True):
        assert error <= 1e-2 and error <= 1.5 * of_torch


@pytest.mark.parametrize(("activation", "layout"), one_at_a_time(ACTIVATIONS, LAYOUTS))
def test_any_layout(
    activation: str, layout: Callable[[Tensor], Tensor], device: torch.device
) -> None:
    def laid_out(z: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        return BIAS_ACTIVATION(_Relaid.apply(z, layout), bias, activation)

    drawn = draw((3, 5, 14), activation)
    assert max(errors_of(laid_out, drawn, activation, torch.float32, device)) <= 2e-6


class _Relaid(torch.autograd.Function):
    """Identity function that changes the memory layout."""

    @staticmethod
    def forward(ctx: object, z: Tensor, layout: Callable[[Tensor], Tensor]) -> Tensor:
        return layout(z.cpu()) if z.device.type == "cpu" else layout(z.cpu()).to(z.device)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


@over_activations
def test_gradients_of_a_sum_come_expanded(activation: str, device: torch.device) -> None:
    z, bias, direction = draw((5, 14), activation)
    assert z is not None and direction is not None and bias is not None
    z, bias = z.to(device).requires_grad_(), bias.to(device)
    BIAS_ACTIVATION(z, bias, activation).sum().backward()
    _, d_z, _ = formula(z, bias, activation, torch.ones_like(direction))
    assert z.grad is not None
    torch.testing.assert_close(z.grad.cpu().double(), d_z, rtol=1e-5, atol=1e-6)


@over_activations
def test_only_z_is_kept(activation: str, device: torch.device) -> None:
    z, bias, _ = draw((50, 128), activation)
    assert z is not None and bias is not None
    z, bias = z.to(device).requires_grad_(), bias.to(device).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        BIAS_ACTIVATION(z, bias, activation)
    assert [t.data_ptr() for t in kept] == [z.data_ptr(), bias.data_ptr()]


@over_activations
def test_gradcheck_and_inside_a_checkpoint(activation: str, device: torch.device) -> None:
    z, bias, _ = draw((3, 6), activation)
    assert z is not None and bias is not None
    z, bias = (t.to(device, torch.float64).requires_grad_() for t in (z, bias))
    assert torch.autograd.gradcheck(lambda z, b: BIAS_ACTIVATION(z, b, activation), (z, bias))
    plain, recomputed = (
        torch.autograd.grad(h.sum(), (z, bias))
        for h in (
            BIAS_ACTIVATION(z, bias, activation),
            checkpoint(BIAS_ACTIVATION, z, bias, activation, use_reentrant=False),
        )
    )
    for one, two in zip(plain, recomputed, strict=True):
        assert torch.equal(one, two)


@over_activations
def test_compiles_without_a_break(activation: str, device: torch.device) -> None:
    compiled = torch.compile(bias_activation, fullgraph=True, backend="aot_eager")
    drawn = draw((9, 14), activation)
    assert max(errors_of(compiled, drawn, activation, torch.float32, device)) <= 2e-6


@pytest.mark.parametrize(
    ("activation", "with_bias", "layout"),
    one_at_a_time(ACTIVATIONS, [True, False], LAYOUTS),
)
def test_the_custom_operator_keeps_to_its_contract(
    activation: str, with_bias: bool, layout: Callable[[Tensor], Tensor], device: torch.device
) -> None:
    z, bias, direction = draw((3, 5, 14), activation, with_bias)
    assert z is not None and direction is not None
    z, direction = layout(z).to(device), direction.to(device)
    bias = None if bias is None else bias.to(device).requires_grad_()
    torch.library.opcheck(BIAS_ACTIVATION.op, (z.requires_grad_(), bias, activation))
    with torch.no_grad():
        torch.library.opcheck(
            BIAS_ACTIVATION_GRADIENTS.op, (direction, z, bias, activation, with_bias)
        )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_on_a_cpu_it_is_plain(activation: str) -> None:
    """There computing twice takes longer than storing, for every activation."""
    z, bias = torch.randn(3, 4, requires_grad=True), torch.randn(4)
    node = bias_activation(z, bias, activation).grad_fn
    assert node is not None and "bias_activation" not in node.name()
    assert torch.equal(bias_activation(z, bias, activation), reference(z, bias, activation))


@pytest.mark.gpu
def test_its_switch_turns_it_off() -> None:
    z, bias = torch.randn(3, 4, device="cuda", requires_grad=True), torch.randn(4, device="cuda")
    with switches.reference("bias_activation"):
        node = bias_activation(z, bias, "gelu").grad_fn
    assert node is not None and "Gelu" in node.name()


def test_differentiating_twice_is_refused() -> None:
    z, bias = torch.randn(3, 4, requires_grad=True), torch.randn(4)
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(BIAS_ACTIVATION(z, bias, "gelu").sum(), z, create_graph=True)


def test_an_unknown_activation_is_an_error(device: torch.device) -> None:
    with pytest.raises(KeyError, match="relu"):
        bias_activation(torch.randn(3, 4, device=device), None, "relu")
