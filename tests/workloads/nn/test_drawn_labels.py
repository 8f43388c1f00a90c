"""Labels that a model draws, against probabilities in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from workloads.config.model import ModelConfig
from workloads.nn import drawn_labels as module
from workloads.nn.drawn_labels import drawn_labels, label_draws
from workloads.nn.transformer import Transformer


def test_a_label_is_the_first_whose_sum_of_probabilities_exceeds_its_draw() -> None:
    features, weight = torch.randn(3, 5, 4).double(), torch.randn(7, 4).double()
    draws = torch.rand(3, 5)
    found = drawn_labels(features, weight, draws)
    assert found.shape == draws.shape and found.dtype == torch.int64
    for place in torch.cartesian_prod(torch.arange(3), torch.arange(5)).tolist():
        row, column = place
        logits = [float(features[row, column] @ weight[i]) for i in range(7)]
        odds = torch.tensor(logits, dtype=torch.float64).softmax(0)
        total, label = 0.0, 0
        while (total := total + float(odds[label])) <= float(draws[row, column]):
            label += 1
        assert int(found[row, column]) == label


def test_labels_are_as_frequent_as_they_are_probable() -> None:
    weight = torch.tensor([[0.0], [1.0], [-2.0], [0.5]])
    draws = label_draws(seed=3, step=7, batch_size=400, block_size=100)
    labels = drawn_labels(torch.ones(400, 100, 1), weight, draws)
    found = labels.flatten().bincount(minlength=4) / labels.numel()
    torch.testing.assert_close(found, weight[:, 0].softmax(0), atol=0.01, rtol=0)


def test_extreme_draws_and_impossible_labels() -> None:
    weight = torch.tensor([[-1e9], [1.0], [1.0], [-1e9]])
    draws = torch.tensor([0.0, 0.4999, 0.5001, 1 - 2**-24])
    assert drawn_labels(torch.ones(4, 1), weight, draws).tolist() == [1, 1, 2, 2]


def test_draws_are_a_function_of_seed_and_step() -> None:
    first = label_draws(1, 2, 8, 16)
    assert torch.equal(first, label_draws(1, 2, 8, 16))
    assert float(first.min()) >= 0 and float(first.max()) < 1
    for other in (label_draws(1, 3, 8, 16), label_draws(2, 2, 8, 16)):
        assert not torch.isclose(first, other).any(dim=1).all()


def test_parts_of_the_tokens_change_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    features, weight, draws = torch.randn(5, 9, 4), torch.randn(11, 4), torch.rand(5, 9)
    whole = drawn_labels(features, weight, draws)
    monkeypatch.setattr(module, "CHUNK", 77)  # of 7 tokens
    assert torch.equal(drawn_labels(features, weight, draws), whole)


def test_the_models_loss_on_drawn_labels_is_that_on_the_labels() -> None:
    """No gradient passes through the draw."""
    shape = ModelConfig(
        vocab_size=23, block_size=6, num_layers=2, hidden_dim=8, ffn_dim=12, num_heads=2
    )
    model = Transformer(shape).double()
    tokens, draws = torch.randint(23, (3, 6)), torch.rand(3, 6)
    labels = drawn_labels(model.ln_f(model.features(tokens)), model.head_weight, draws)
    assert not labels.requires_grad
    parameters = list(model.parameters())
    found = torch.autograd.grad(model(tokens, draws), parameters)
    loss = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
    expected = torch.autograd.grad(loss, parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
