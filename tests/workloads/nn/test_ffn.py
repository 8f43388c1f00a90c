"""The four projections against their definitions, written out index by index in float64."""

import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from workloads.config.ffn_kinds import FFN_KINDS
from workloads.config.model import FFNConfig, ModelConfig
from workloads.cost.flops import projection_weights
from workloads.nn.ffn import FeedForward, projection_class
from workloads.nn.projections.base import Projection

# (parametrization, n, m): wider, narrower and square, odd sizes, one block and many.
CASES: list[tuple[FFNConfig, int, int]] = [
    (FFNConfig(), 5, 9),
    (FFNConfig(), 9, 5),
    (FFNConfig(kind="lowrank", rank=3), 7, 11),
    (FFNConfig(kind="lowrank", rank=1), 11, 7),
    (FFNConfig(kind="lowrank", rank=7), 7, 7),
    (FFNConfig(kind="blockdense", rank=6, nblocks=3), 9, 15),
    (FFNConfig(kind="blockdense", rank=10, nblocks=5), 15, 5),
    (FFNConfig(kind="blockdense", rank=5, nblocks=1), 7, 9),
    (FFNConfig(kind="blockshuffle", nblocks=3), 9, 15),
    (FFNConfig(kind="blockshuffle", nblocks=5), 15, 10),
    (FFNConfig(kind="blockshuffle", nblocks=2), 6, 14),
    (FFNConfig(kind="blockshuffle", nblocks=3), 9, 9),
    (FFNConfig(kind="blockshuffle", nblocks=1), 5, 7),
]


def case_name(case: object) -> str:
    return f"{case.kind}-{case.rank}-{case.nblocks}" if isinstance(case, FFNConfig) else str(case)


over_cases = pytest.mark.parametrize(("ffn", "n", "m"), CASES, ids=case_name)


def build(ffn: FFNConfig, n: int, m: int, seed: int = 0) -> Projection:
    torch.manual_seed(seed)
    return projection_class(ffn.kind)(n, m, ffn)


def defined(ffn: FFNConfig, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """y of one vector x (n,), as arXiv 2406.16450 (section 3) defines it, entry by entry."""
    bias = weights["bias"]
    m = len(bias)
    y: list[Tensor | float] = [0.0] * m
    if ffn.kind == "dense":
        for i, j in itertools.product(range(m), range(len(x))):
            y[i] = y[i] + weights["weight"][i, j] * x[j]
        return torch.stack([torch.as_tensor(entry) for entry in y]) + bias
    v, u = weights["v"], weights["u"]
    if ffn.kind == "lowrank":
        inner = [sum(v[r, i] * x[i] for i in range(len(x))) for r in range(len(v))]
    else:
        # Block b turns its own n/B inputs into its own entries of the inner vector.
        blocks, rows, columns = v.shape
        inner = [
            sum(v[b, r, i] * x[b * columns + i] for i in range(columns))
            for b in range(blocks)
            for r in range(rows)
        ]
    if ffn.kind == "blockshuffle":
        # Inner entry r B + l is number r of block l; output s B + l is number s of block l.
        blocks, places, numbers = u.shape
        for block, s, r in itertools.product(range(blocks), range(places), range(numbers)):
            place = s * blocks + block
            y[place] = y[place] + u[block, s, r] * inner[r * blocks + block]
    else:
        for i, r in itertools.product(range(m), range(len(inner))):
            y[i] = y[i] + u[i, r] * inner[r]
    return torch.stack([torch.as_tensor(entry) for entry in y]) + bias


@pytest.mark.parametrize(
    ("ffn", "n", "m", "batch"),
    [*((*case, (2, 5)) for case in CASES), (*CASES[2], (3,)), (*CASES[5], ()), (*CASES[8], ())],
    ids=case_name,
)
def test_forward_and_gradients_are_those_of_the_definition(
    ffn: FFNConfig, n: int, m: int, batch: tuple[int, ...], device: torch.device
) -> None:
    projection = build(ffn, n, m).double()
    nn.init.normal_(projection.get_parameter("bias"))
    copies = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in projection.named_parameters()
    }
    projection.to(device)
    expected_x = torch.randn(*batch, n, dtype=torch.float64, requires_grad=True)
    x = expected_x.detach().to(device).requires_grad_()
    rows = [defined(ffn, copies, row) for row in expected_x.reshape(-1, n)]
    expected = torch.stack(rows).reshape(*batch, m)
    direction = torch.randn_like(expected)
    expected.backward(direction)

    y = projection(x)
    y.backward(direction.to(device))

    found = {"y": y, "x.grad": x.grad} | {
        name: parameter.grad for name, parameter in projection.named_parameters()
    }
    wanted = {"y": expected, "x.grad": expected_x.grad} | {
        name: copy.grad for name, copy in copies.items()
    }
    for name, value in wanted.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-11, atol=1e-13, check_device=False, msg=name
        )


@over_cases
def test_dense_weight_is_the_matrix_of_the_map(ffn: FFNConfig, n: int, m: int) -> None:
    projection = build(ffn, n, m)
    weights = dict(projection.double().named_parameters())
    columns = [defined(ffn, weights, unit) for unit in torch.eye(n, dtype=torch.float64)]
    expected = torch.stack(columns, dim=1).detach()
    weight = projection.dense_weight()
    assert weight.shape == (m, n)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-11, atol=1e-15)


@over_cases
def test_flops_counts_the_weights_of_every_kind(ffn: FFNConfig, n: int, m: int) -> None:
    sizes = {name: p.numel() for name, p in build(ffn, n, m).named_parameters()}
    assert sizes.pop("bias") == m
    assert sum(sizes.values()) == projection_weights(n, m, ffn)


def test_every_kind_is_tested_here() -> None:
    assert {ffn.kind for ffn, _, _ in CASES} == set(FFN_KINDS)


# Initialization


@pytest.mark.parametrize(("n", "m", "rank"), [(36, 51, 12), (51, 36, 1), (36, 51, 36)])
def test_lowrank_starts_as_the_best_approximation_of_a_dense_weight(
    n: int, m: int, rank: int
) -> None:
    projection = build(FFNConfig(kind="lowrank", rank=rank), n, m)
    whole = build(FFNConfig(kind="lowrank", rank=min(n, m)), n, m)  # From the same seed.
    dense = (whole.get_parameter("u") @ whole.get_parameter("v")).detach()
    left, values, right = torch.linalg.svd(dense, full_matrices=False)
    best = left[:, :rank] @ values[:rank].diag() @ right[:rank]
    u, v = (projection.get_parameter(name).detach() for name in ("u", "v"))
    torch.testing.assert_close(u @ v, best, rtol=1e-4, atol=1e-6)
    # Split evenly: each factor has the square roots of the singular values.
    for factor in (u, v):
        torch.testing.assert_close(
            torch.linalg.svdvals(factor)[:rank], values[:rank].sqrt(), rtol=1e-4, atol=1e-5
        )


def test_the_dense_weight_behind_lowrank_is_normal_with_std_0_02() -> None:
    n, m = 96, 128
    projection = build(FFNConfig(kind="lowrank", rank=n), n, m)
    dense = (projection.get_parameter("u") @ projection.get_parameter("v")).detach().double()
    assert abs(dense.mean()) < 5 * 0.02 / math.sqrt(n * m)
    assert dense.std().item() == pytest.approx(0.02, rel=0.03)
    assert (dense / 0.02).pow(4).mean().item() == pytest.approx(3, rel=0.1)
    # The edges of a normal matrix's spectrum (Marchenko and Pastur 1967).
    values = torch.linalg.svdvals(dense)
    assert values[0].item() == pytest.approx(0.02 * (math.sqrt(m) + math.sqrt(n)), rel=0.05)
    assert values[-1].item() == pytest.approx(0.02 * (math.sqrt(m) - math.sqrt(n)), rel=0.2)


@pytest.mark.parametrize(
    ("ffn", "n", "m"), [case for case in CASES if case[0].kind.startswith("block")], ids=case_name
)
def test_blocks_start_orthonormal(ffn: FFNConfig, n: int, m: int) -> None:
    projection = build(ffn, n, m)
    for name in ("v", "u"):
        factor = projection.get_parameter(name).detach()
        for block in factor if factor.dim() == 3 else [factor]:
            small = block if len(block) <= len(block.mT) else block.mT
            torch.testing.assert_close(small @ small.mT, torch.eye(len(small)), rtol=0, atol=1e-5)


def test_orthonormal_blocks_differ_and_point_anywhere() -> None:
    projection = build(FFNConfig(kind="blockshuffle", nblocks=2), 64, 64)
    u, v = (projection.get_parameter(name).detach() for name in ("u", "v"))
    blocks = [*u, *v]
    for first, second in itertools.combinations(blocks, 2):
        assert (first - second).norm() > 1
    for block in blocks:  # Of 32 x 32 entries of size 1/sqrt(32).
        assert abs(block.mean()) < 5 / 32 / math.sqrt(32)
        assert block.diagonal().abs().max() < 0.8


def test_dense_starts_normal_with_std_0_02() -> None:
    weight = build(FFNConfig(), 96, 128).get_parameter("weight").detach()
    assert abs(weight.mean()) < 5 * 0.02 / math.sqrt(96 * 128)
    assert weight.std().item() == pytest.approx(0.02, rel=0.03)


@over_cases
def test_biases_start_at_zero_and_weights_are_contiguous(ffn: FFNConfig, n: int, m: int) -> None:
    projection = build(ffn, n, m)
    assert not projection.get_parameter("bias").any()
    # Another layout would change the sums of a resumed run: see `checkpoint`.
    assert all(parameter.is_contiguous() for parameter in projection.parameters())


# The layer


@pytest.mark.parametrize(
    "ffn",
    [
        FFNConfig(),
        FFNConfig(kind="lowrank", rank=3),
        FFNConfig(kind="blockdense", rank=6, nblocks=3),
        FFNConfig(kind="blockshuffle", nblocks=3),
    ],
    ids=case_name,
)
def test_the_layer_is_two_projections_around_an_exact_gelu(ffn: FFNConfig) -> None:
    shape = ModelConfig(
        vocab_size=5, block_size=3, num_layers=1, hidden_dim=6, ffn_dim=15, num_heads=1, ffn=ffn
    )
    layer = FeedForward(shape, ffn).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    parts: list[dict[str, Tensor]] = [{}, {}]
    for name, parameter in layer.named_parameters():
        side, _, weight = name.partition(".")
        parts[("fc1", "fc2").index(side)][weight] = parameter
    expected = []
    for row in x.reshape(-1, 6):
        inner = defined(ffn, parts[0], row)
        active = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        expected.append(defined(ffn, parts[1], active))
    torch.testing.assert_close(
        layer(x), torch.stack(expected).reshape(2, 3, 6), rtol=1e-11, atol=1e-12
    )
