"""Muon against singular values and against a plain formulation, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workloads.config.model import FFNConfig, GuideConfig, ModelConfig
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer
from workloads.optim.build import build_optimizer
from workloads.optim.muon import Muon, orthogonalized
from workloads.optim.muon_config import MuonConfig

SHAPES = [(5, 5), (5, 17), (23, 4), (3, 6, 10), (4, 9, 2), (1, 7), (64, 48)]


def matrices(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def by_singular_values(matrix: np.ndarray) -> np.ndarray:
    """Five iterations of the published polynomial on each singular value by itself."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left * values @ right


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_iterations_act_on_each_singular_value_of_each_block(shape: tuple[int, ...]) -> None:
    x = matrices(*shape)
    found = orthogonalized(x)
    assert found.shape == x.shape and found.dtype == torch.float64
    for one, matrix in zip(
        found.view(-1, *shape[-2:]), x.view(-1, *shape[-2:]).numpy(), strict=True
    ):
        np.testing.assert_allclose(one.numpy(), by_singular_values(matrix), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(8, 8), (16, 48), (48, 16), (3, 12, 20)], ids=str)
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, ...]) -> None:
    """Against an SVD; of values of at least a twentieth of the norm."""
    x = matrices(*shape)
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    x = left @ torch.diag_embed(values.clamp(min=0.05 * float(x.norm()))) @ right
    found = left.mT @ orthogonalized(x) @ right.mT
    near_one = found.diagonal(dim1=-2, dim2=-1)
    assert float(near_one.min()) > 0.65 and float(near_one.max()) < 1.25
    torch.testing.assert_close(found, torch.diag_embed(near_one), atol=1e-10, rtol=0)


def test_steps_are_the_published_ones() -> None:
    """Matrices and stacks of blocks with Nesterov momentum, and AdamW for the rest."""
    torch.manual_seed(2)
    rate, decay, momentum, betas = 0.02, 0.3, 0.9, (0.8, 0.95)
    parameters = [nn.Parameter(matrices(*shape)) for shape in ((6, 10), (3, 4, 5), (7,), (9, 4))]
    weights = [p.detach().numpy().copy() for p in parameters]
    groups = [
        {"params": parameters[:2], "orthogonal": True},
        {"params": parameters[2:], "orthogonal": False, "weight_decay": 0.0},
    ]
    optimizer = Muon(groups, rate, momentum, betas, decay)
    sums = [np.zeros_like(w) for w in weights]
    squares = [np.zeros_like(w) for w in weights]
    for step in range(1, 7):
        gradients = [matrices(*p.shape) for p in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        for i, gradient in enumerate(g.numpy() for g in gradients):
            if i < 2:
                sums[i] = momentum * sums[i] + gradient
                nesterov = gradient + momentum * sums[i]
                blocks = nesterov.reshape(-1, *nesterov.shape[-2:])
                update = np.stack([by_singular_values(b) for b in blocks]).reshape(weights[i].shape)
                scale = 0.2 * math.sqrt(max(weights[i].shape[-2:]))
                weights[i] = (1 - rate * decay) * weights[i] - rate * scale * update
            else:
                sums[i] = betas[0] * sums[i] + (1 - betas[0]) * gradient
                squares[i] = betas[1] * squares[i] + (1 - betas[1]) * gradient**2
                mean, square = sums[i] / (1 - betas[0] ** step), squares[i] / (1 - betas[1] ** step)
                weights[i] -= rate * mean / (np.sqrt(square) + 1e-8)
        for parameter, weight in zip(parameters, weights, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", [(32, 32), (32, 128), (128, 32), (4, 8, 24)], ids=str)
def test_entries_of_a_step_are_as_large_as_adamws(shape: tuple[int, ...]) -> None:
    parameter = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    optimizer = Muon([{"params": [parameter], "orthogonal": True}], 1e-3, weight_decay=0.0)
    parameter.grad = matrices(*shape)
    optimizer.step()
    assert float(parameter.detach().square().mean().sqrt()) == pytest.approx(0.2e-3, rel=0.2)


@pytest.mark.parametrize("decay", ["all", "matrices", "hidden_matrices"])
@pytest.mark.parametrize(
    "ffn",
    [FFNConfig(kind="blockshuffle", nblocks=3), FFNConfig(kind="blockdense", rank=6, nblocks=2)],
    ids=lambda ffn: ffn.kind,
)
def test_matrices_of_layers_are_orthogonal_and_all_else_is_adamws(
    ffn: FFNConfig, decay: str
) -> None:
    shape = ModelConfig(
        vocab_size=11,
        block_size=5,
        num_layers=2,
        hidden_dim=12,
        ffn_dim=24,
        num_heads=1,
        position="absolute",
        tie_embeddings=False,
        ffn=ffn,
        guide=GuideConfig(ratio=0.5),
    )
    model = Transformer(shape)
    add_guides(model, GuideConfig(ratio=0.5))
    values = {"kind": "muon", "learning_rate": 0.1, "weight_decay": 0.3, "decay": decay}
    optimizer = build_optimizer(model, MuonConfig.model_validate(values))
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group["orthogonal"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found.keys() == {*names.values()}
    outer = {"wte.weight", "wpe.weight", "lm_head.weight"}
    for name, (orthogonal, pulled) in found.items():
        vector = name.endswith("bias") or ".ln" in name or name.startswith("ln")
        assert orthogonal == (not vector and name not in outer), name
        undecayed = {"all": False, "matrices": vector}.get(decay, not orthogonal)
        assert pulled == (0.0 if undecayed else 0.3), name
