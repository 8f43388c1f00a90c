"""The row kernel of the cross entropy, by itself and within the operation, in fp32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import cross_entropy
from kernels.cuda.cross_entropy import rows_in_triton
from tests.kernels.checks import one_at_a_time
from tests.kernels.losses import IGNORED, Problem, errors_of


def formula(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return losses and their gradients in float64, zero where the target is ignored."""
    exact = logits.double()
    probabilities = exact.softmax(1)
    counts = targets != IGNORED
    rows = torch.arange(len(targets))[counts]
    losses = torch.zeros(len(targets), dtype=torch.float64)
    losses[counts] = -exact.log_softmax(1)[rows, targets[counts]]
    probabilities[rows, targets[counts]] -= 1
    probabilities[~counts] = 0
    return losses, probabilities


# One row in a block and in several, with and without a ragged end.
@pytest.mark.parametrize(
    ("size", "gradient"),
    one_at_a_time([(7, 1025), (1, 1), (5, 257), (3, 1024), (2, 8192)], [True, False]),
)
def test_rows(size: tuple[int, int], gradient: bool) -> None:
    tokens, vocabulary = size
    # Within rows of a wider tensor, whose rest must stay as it is.
    wide = torch.full((tokens, vocabulary + 3), float("nan"))
    logits = wide[:, 1 : vocabulary + 1]
    logits.copy_(torch.randn(tokens, vocabulary) * 20)
    before = logits.clone()
    targets = torch.randint(vocabulary, (tokens,))
    targets[tokens // 2] = IGNORED if tokens > 1 else targets[0]
    losses, grads = formula(logits, targets)
    found = rows_in_triton(logits, targets, IGNORED, gradient)
    torch.testing.assert_close(found.double(), losses, rtol=2e-6, atol=2e-5)
    torch.testing.assert_close(
        logits.double(), grads if gradient else before.double(), rtol=1e-5, atol=2e-6
    )
    assert wide[:, 0].isnan().all() and wide[:, vocabulary + 1 :].isnan().all()


@pytest.mark.parametrize("offset", [-1000.0, 1000.0])
def test_large_logits_neither_overflow_nor_vanish(offset: float) -> None:
    logits = torch.randn(2, 1100) + offset
    targets = torch.tensor([0, 1099])
    losses, _ = formula(logits, targets)
    found = rows_in_triton(logits, targets, IGNORED, True)
    torch.testing.assert_close(found.double(), losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", [-1, 5, 10**9])
def test_a_target_outside_the_vocabulary_is_not_a_number(target: int) -> None:
    found = rows_in_triton(torch.randn(2, 5), torch.tensor([target, 2]), IGNORED, True)
    assert found.isnan().tolist() == [True, False]


def test_no_rows() -> None:
    assert rows_in_triton(
        torch.empty(0, 5), torch.empty(0, dtype=torch.long), IGNORED, True
    ).shape == (0,)


def test_the_operation_with_this_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "_rows_of", lambda _: rows_in_triton)
    monkeypatch.setitem(cross_entropy.CHUNK_BYTES, "cpu", 4 * 53 * 5)  # 5 tokens of 13
    problem = Problem.draw((13,), 7, 53)
    found = errors_of(problem, cross_entropy.linear_cross_entropy, torch.float32)
    assert max(found.values()) <= 2e-6
