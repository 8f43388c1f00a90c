"""Each operation against the dense matrix that its factors multiply out to, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.kernels.checks import (
    LAYOUTS,
    NAMES,
    contiguous,
    errors,
    expected,
    feature_major,
    gradients,
    one_at_a_time,
)
from tests.kernels.operations import Case, dense_case, shuffle_case

CPU = torch.device("cpu")
# Wider, narrower and square, odd sizes, one block and many.
DENSE_CASES = [
    dense_case(9, 15, 6, 3),
    dense_case(15, 7, 10, 5),
    dense_case(6, 13, 4, 2),
    dense_case(9, 9, 9, 3),
    dense_case(5, 7, 3, 1),
    dense_case(66, 33, 30, 2),
]
SHUFFLE_CASES = [
    shuffle_case(9, 15, 3),
    shuffle_case(15, 10, 5),
    shuffle_case(6, 14, 2),
    shuffle_case(9, 9, 3),
    shuffle_case(5, 7, 1),
    shuffle_case(66, 34, 2),
    shuffle_case(32, 128, 4),
]
WIDE, NARROW = DENSE_CASES[0], DENSE_CASES[1]
SHUFFLE_WIDE, SHUFFLE_NARROW = SHUFFLE_CASES[0], SHUFFLE_CASES[1]
BATCHES = [(2, 5), (), (1,), (3,), (2, 3, 4)]


def over(*cases: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=str)


@pytest.mark.parametrize(
    ("case", "batch", "bias"),
    [
        *one_at_a_time(DENSE_CASES, BATCHES, [True, False]),
        *one_at_a_time(SHUFFLE_CASES, BATCHES, [True, False]),
    ],
    ids=str,
)
def test_float64_is_the_definition(
    case: Case, batch: tuple[int, ...], bias: bool, device: torch.device
) -> None:
    drawn = case.draw(batch, bias)
    direction = torch.randn(*batch, case.m)
    ours = drawn.to(device, torch.float64)
    found = gradients(ours, case.kind.operation(*ours.tensors), direction)
    assert max(errors(found, expected(case.kind.dense, drawn, direction)).values()) < 1e-13


@over(
    dense_case(66, 130, 50, 2),
    dense_case(512, 128, 84, 4),
    dense_case(128, 512, 84, 4),
    shuffle_case(66, 130, 2),
    shuffle_case(512, 128, 4),
    shuffle_case(128, 512, 4),
)
def test_float32_errs_by_rounding_only(case: Case, device: torch.device) -> None:
    drawn = case.draw((7, 31))
    direction = torch.randn(7, 31, case.m)
    ours = drawn.to(device, torch.float32)
    found = gradients(ours, case.kind.operation(*ours.tensors), direction)
    assert max(errors(found, expected(case.kind.dense, drawn, direction)).values()) <= 2e-6


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout is not contiguous])
@over(WIDE, NARROW, SHUFFLE_WIDE, SHUFFLE_NARROW)
def test_any_layout_of_x_and_of_the_gradient(
    case: Case, layout: Callable[[Tensor], Tensor], device: torch.device
) -> None:
    drawn = case.draw((3, 5))
    direction = torch.randn(3, 5, case.m)
    ours = drawn.to(device, torch.float64)
    y = case.kind.operation(layout(ours.x.cpu()).to(device), ours.v, ours.u, ours.bias)
    found = gradients(ours, y, layout(direction.double()))
    assert max(errors(found, expected(case.kind.dense, drawn, direction)).values()) < 1e-13


@over(dense_case(9, 15, 6, 3), shuffle_case(9, 15, 3))
def test_gradients_of_a_sum_come_expanded(case: Case, device: torch.device) -> None:
    drawn = case.draw((4,))
    ours = drawn.to(device, torch.float64)
    case.kind.operation(*ours.tensors).sum().backward()
    wanted = expected(case.kind.dense, drawn, torch.ones(4, 15))
    assert ours.x.grad is not None
    torch.testing.assert_close(ours.x.grad.cpu(), wanted["x"])


@over(WIDE, NARROW, SHUFFLE_WIDE, SHUFFLE_NARROW)
def test_no_tokens(case: Case, device: torch.device) -> None:
    ours = case.draw((0, 3)).to(device, torch.float32)
    y = case.kind.operation(*ours.tensors)
    assert y.shape == (0, 3, case.m)
    y.sum().backward()
    for tensor in ours.tensors[1:]:
        assert tensor is not None and tensor.grad is not None and not tensor.grad.any()


@over(dense_case(32, 8, 12, 2), shuffle_case(32, 8, 2))
def test_the_gradient_of_x_has_its_layout(case: Case) -> None:
    ours = case.draw((3, 5))
    x = feature_major(ours.x).requires_grad_()
    (d_x,) = torch.autograd.grad(case.kind.operation(x, ours.v, ours.u, ours.bias).sum(), x)
    assert d_x.stride() == x.stride()


@pytest.mark.parametrize("needed", range(4))
@over(dense_case(9, 15, 6, 3), shuffle_case(9, 15, 3))
def test_only_the_gradient_that_is_needed(case: Case, needed: int) -> None:
    drawn = case.draw((4,))
    direction = torch.randn(4, 15)
    wanted = expected(case.kind.dense, drawn, direction)
    tensors = [t.detach().double() for t in drawn.tensors if t is not None]
    tensors[needed].requires_grad_()
    case.kind.operation(*tensors).backward(direction.double())
    found = [t.grad for t in tensors]
    assert [grad is not None for grad in found] == [i == needed for i in range(4)]
    torch.testing.assert_close(found[needed], wanted[NAMES[needed]])


@over(dense_case(6, 8, 4, 2), dense_case(9, 5, 6, 3), shuffle_case(6, 8, 2), shuffle_case(9, 6, 3))
def test_gradcheck(case: Case, device: torch.device) -> None:
    ours = case.draw((2,)).to(device, torch.float64)
    tensors = tuple(t for t in ours.tensors if t is not None)
    assert torch.autograd.gradcheck(case.kind.operation, tensors)


@over(dense_case(6, 8, 4, 2), shuffle_case(6, 8, 2))
def test_differentiating_twice_is_refused(case: Case) -> None:
    ours = case.draw((2,)).to(CPU, torch.float64)
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(case.kind.operation(*ours.tensors).sum(), ours.x, create_graph=True)


@pytest.mark.parametrize(
    ("case", "x_dtype"),
    [
        (dense_case(64, 256, 42, 2), torch.float32),
        (dense_case(256, 64, 42, 2), torch.bfloat16),
        (shuffle_case(64, 256, 2), torch.float32),
        (shuffle_case(256, 64, 2), torch.bfloat16),
    ],
    ids=str,
)
def test_bfloat16_autocast_is_as_good_as_torchs(
    case: Case, x_dtype: torch.dtype, device: torch.device
) -> None:
    drawn = case.draw((6, 50))
    direction = torch.randn(6, 50, case.m)
    wanted = expected(case.kind.dense, drawn, direction)
    both = []
    for operation in (case.kind.operation, case.kind.reference):
        ours = drawn.to(device, torch.float32)
        with torch.autocast(device.type, torch.bfloat16):
            y = operation(ours.x.to(x_dtype), ours.v, ours.u, ours.bias)
        assert y.dtype == torch.bfloat16
        both.append(errors(gradients(ours, y, direction), wanted))
    found, torchs = both
    for name, error in found.items():
        assert error <= 1e-2, name
        assert error <= 1.5 * torchs[name], name


@over(dense_case(64, 256, 42, 2), shuffle_case(64, 256, 2))
def test_backward_inside_autocast(case: Case) -> None:
    drawn = case.draw((50,))
    direction = torch.randn(50, 256)
    ours = drawn.to(CPU, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(ours, case.kind.operation(*ours.tensors), direction)
    assert max(errors(found, expected(case.kind.dense, drawn, direction)).values()) <= 1e-2


@over(dense_case(15, 7, 10, 5), shuffle_case(15, 10, 5))
def test_inside_a_checkpoint(case: Case, device: torch.device) -> None:
    drawn = case.draw((2, 7))
    direction = torch.randn(2, 7, case.m)
    ours = drawn.to(device, torch.float64)
    y = checkpoint(case.kind.operation, *ours.tensors, use_reentrant=False)
    assert isinstance(y, Tensor)
    found = gradients(ours, y, direction)
    assert max(errors(found, expected(case.kind.dense, drawn, direction)).values()) < 1e-13


@over(dense_case(15, 7, 10, 5), shuffle_case(15, 30, 5))
def test_compiles_without_a_break(case: Case, device: torch.device) -> None:
    drawn = case.draw((2, 7))
    direction = torch.randn(2, 7, case.m)
    ours = drawn.to(device, torch.float64)
    # AOT autograd runs as for Inductor, without waiting for a C++ compiler.
    compiled = torch.compile(case.kind.operation, fullgraph=True, backend="aot_eager")
    found = gradients(ours, compiled(*ours.tensors), direction)
    assert max(errors(found, expected(case.kind.dense, drawn, direction)).values()) < 1e-13


# As custom operators, as on CUDA


@pytest.fixture
def as_custom_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call operations as custom operators on a CPU too."""
    torch._dynamo.reset()  # It counts how often one function was compiled.
    monkeypatch.setattr("kernels.custom_op.DEVICES", ("cuda", "cpu"))


@pytest.mark.usefixtures("as_custom_ops")
@pytest.mark.parametrize(
    ("case", "layout", "bias"),
    [
        (NARROW, contiguous, True),
        (WIDE, feature_major, False),
        *one_at_a_time([SHUFFLE_NARROW, SHUFFLE_WIDE], [contiguous, feature_major], [True, False]),
    ],
)
def test_the_custom_operator_keeps_to_its_contract(
    case: Case, layout: Callable[[Tensor], Tensor], bias: bool, device: torch.device
) -> None:
    ours = case.draw((9,), bias).to(device, torch.float32)
    product, weights = case.kind.custom_op, ours.tensors[1:]
    x = layout(ours.x.detach()).to(device).requires_grad_()
    torch.library.opcheck(product.forward.op, (x, *weights))
    with torch.no_grad():
        y, inner = product.forward.op(x, *weights)
        torch.library.opcheck(product.gradients.op, (torch.randn_like(y), x, inner, *weights))


@pytest.mark.usefixtures("as_custom_ops")
@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param("inductor", marks=pytest.mark.slow),  # Needs a C++ compiler on a CPU.
    ],
)
@pytest.mark.parametrize(
    ("case", "bias"),
    [
        (dense_case(15, 7, 10, 5), True),
        (dense_case(15, 7, 10, 5), False),
        (shuffle_case(15, 10, 5), True),
        (shuffle_case(15, 30, 5), False),
    ],
    ids=str,
)
def test_the_custom_operator_compiles_without_a_break(
    case: Case, bias: bool, backend: str, device: torch.device
) -> None:
    drawn = case.draw((2, 7), bias)
    direction = torch.randn(2, 7, case.m)
    ours = drawn.to(device, torch.float64)
    compiled = torch.compile(case.kind.operation, fullgraph=True, backend=backend)
    found = gradients(ours, compiled(*ours.tensors), direction)
    assert max(errors(found, expected(case.kind.dense, drawn, direction)).values()) < 1e-13
