"""Copies of features: which are copied, and the weights with which structured factors read them."""

import pytest
import torch
from torch import Tensor

from tests.workloads.grown import LLAMA, base_of, built, grown_by, moved, weights_of
from workloads.nn.ffn import projection_class

ALPHA = 0.3


def test_heads_are_copied_whole_and_each_logical_matrix_for_itself() -> None:
    model = built(base_of(num_kv_heads=2, tie_embeddings=False, **LLAMA))
    _, grown = grown_by(model, operator="split", width=32, alpha=ALPHA)
    before, after = weights_of(model), weights_of(grown)
    shares = torch.tensor([ALPHA] * 16 + [1 - ALPHA] * 16, dtype=torch.float64)

    def read(matrix: Tensor, shares: Tensor) -> Tensor:
        return matrix.repeat(1, 2) * shares

    qkv, name = (
        before["layers.1.attention.qkv_linear.weight"],
        "layers.1.attention.qkv_linear.weight",
    )
    query, key, value = qkv.split([16, 8, 8])
    rows = torch.cat([query, query, key, key, value, value])
    assert torch.allclose(after[name], read(rows, shares), atol=1e-15)
    gate, up = before["layers.1.mlp.fc1.weight"].chunk(2)
    rows = torch.cat([gate, gate, up, up])
    assert torch.allclose(after["layers.1.mlp.fc1.weight"], read(rows, shares), atol=1e-15)
    wide = torch.tensor([ALPHA] * 24 + [1 - ALPHA] * 24, dtype=torch.float64)
    rows = before["layers.1.mlp.fc2.weight"].repeat(2, 1)
    assert torch.allclose(after["layers.1.mlp.fc2.weight"], read(rows, wide), atol=1e-15)
    assert torch.equal(after["wte.weight"], before["wte.weight"].repeat(1, 2))
    head = read(before["lm_head.weight"], shares)
    assert torch.allclose(after["lm_head.weight"], head, atol=1e-15)
    assert torch.equal(after["ln_f.weight"], before["ln_f.weight"].repeat(2))


def test_a_tied_head_is_read_through_the_last_norm() -> None:
    model = built(base_of())
    _, grown = grown_by(model, operator="split", width=32)
    before, after = weights_of(model), weights_of(grown)
    assert torch.equal(after["wte.weight"], before["wte.weight"].repeat(1, 2))
    assert torch.equal(after["ln_f.weight"], before["ln_f.weight"].repeat(2) / 2)
    assert torch.equal(after["layers.0.ln1.weight"], before["layers.0.ln1.weight"].repeat(2))


def blocks(matrix: Tensor, count: int) -> list[Tensor]:
    """The diagonal blocks of a block-diagonal matrix, cut out one by one."""
    rows, columns = (size // count for size in matrix.shape)
    return [
        matrix[b * rows : (b + 1) * rows, b * columns : (b + 1) * columns] for b in range(count)
    ]


@pytest.mark.parametrize("side", ["fc1", "fc2"])
def test_structured_factors_are_those_of_the_construction(side: str) -> None:
    """Written out factor by factor: x copied as [x; x] gives y copied as [y; y]."""
    for ffn in (
        {"kind": "lowrank", "rank": 3},
        {"kind": "blockdense", "rank": 4, "nblocks": 2},
        {"kind": "blockshuffle", "nblocks": 4},
    ):
        model = built(base_of(ffn=ffn))
        _, grown = grown_by(model, operator="split", width=32, alpha=ALPHA)
        old, new = (m.get_submodule(f"layers.1.mlp.{side}") for m in (model, grown))
        v, u = old.v.detach(), old.u.detach()  # type: ignore[union-attr]  # parameters
        if ffn["kind"] == "lowrank":
            expected = [torch.cat([ALPHA * v, (1 - ALPHA) * v], 1), torch.cat([u, u])]
        elif ffn["kind"] == "blockdense":
            halves = torch.cat([ALPHA * u, (1 - ALPHA) * u], 1)
            expected = [torch.cat([v, v]), torch.cat([halves, halves])]
        else:
            pairs = [(2 * b % 4, (2 * b + 1) % 4) for b in range(4)]
            halves = torch.cat([ALPHA * u, (1 - ALPHA) * u], 2)
            expected = [
                torch.stack([torch.block_diag(v[i], v[j]) for i, j in pairs]),
                torch.cat([halves, halves], 1),
            ]
        for weight, factor in zip(expected, (new.v, new.u), strict=True):
            assert torch.allclose(factor, weight, atol=1e-15)  # type: ignore[arg-type]


def test_the_matrices_of_a_kind_multiply_to_its_dense_weight_and_turn_back() -> None:
    for ffn in (
        {"kind": "lowrank", "rank": 3},
        {"kind": "blockdense", "rank": 4, "nblocks": 2},
        {"kind": "blockshuffle", "nblocks": 4},
    ):
        kind = projection_class(str(ffn["kind"]))
        for n, m in ((16, 24), (24, 16)):
            sizes = {name: int(size) for name, size in ffn.items() if name != "kind"}
            projection = kind(n, m, base_of(ffn=ffn).ffn, bias=False).double()
            assert base_of(ffn=ffn).ffn.sizes == sizes
            own = weights_of(projection)
            first, last = kind.matrices(own)
            assert torch.allclose(last @ first, projection.dense_weight(), atol=1e-15)
            back = kind.weights_of([first, last], {name: t.shape for name, t in own.items()})
            assert all(torch.equal(back[name], own[name]) for name in own)
            if ffn["kind"] != "lowrank":
                count = sizes["nblocks"]
                assert torch.equal(torch.stack(blocks(first, count)), own["v"])


def test_equal_copies_stay_equal_and_unequal_ones_part() -> None:
    tokens = torch.randint(11, (2, 12))
    for alpha, parts in ((None, False), (0.3, True)):
        model = built(base_of(tie_embeddings=False))
        _, grown = grown_by(model, operator="split", width=32, alpha=alpha)
        optimizer = torch.optim.AdamW(grown.parameters(), lr=1e-3)
        for _ in range(4):
            grown(tokens, tokens.roll(-1, 1)).backward()
            optimizer.step()
            optimizer.zero_grad()
        one, other = grown.wte.weight.detach().chunk(2, 1)
        assert (not torch.allclose(one, other, atol=1e-6)) == parts


def test_a_copy_that_the_structure_splits_differently_still_sums_to_one() -> None:
    # One block holds all copies of each of its inputs.
    model = built(base_of(ffn={"kind": "blockshuffle", "nblocks": 1}))
    _, grown = grown_by(model, operator="split", width=48, alpha=ALPHA)
    assert moved(model, grown) < 1e-12
