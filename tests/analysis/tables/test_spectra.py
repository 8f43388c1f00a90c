"""Singular values: the numpy definitions against the trainer's own layers and checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from analysis.tables.errors import RunTableError
from analysis.tables.spectra import initial_singular_values, singular_values, trained_projection
from workloads.config.model import FFNConfig, ModelConfig
from workloads.nn.ffn import FeedForward

FFNS = [
    FFNConfig(),
    FFNConfig(kind="lowrank", rank=8),
    FFNConfig(kind="blockdense", rank=8, nblocks=2),
    FFNConfig(kind="blockshuffle", nblocks=4),
]


def layer(ffn: FFNConfig) -> FeedForward:
    torch.manual_seed(0)
    model = ModelConfig(
        vocab_size=1, block_size=1, num_layers=1, hidden_dim=32, ffn_dim=64, num_heads=1
    )
    return FeedForward(model, ffn)


def checkpoint(run: Path, ffn: FFNConfig) -> FeedForward:
    made = layer(ffn)
    named = {f"model.layers.1.mlp.{name}": p.detach() for name, p in made.named_parameters()}
    (run / "checkpoints").mkdir(parents=True)
    save_file(named, run / "checkpoints" / "step-00000010.safetensors")
    return made


@pytest.mark.parametrize("ffn", FFNS, ids=lambda ffn: ffn.kind)
def test_a_checkpoint_gives_the_matrix_the_layer_computes(ffn: FFNConfig, tmp_path: Path) -> None:
    made = checkpoint(tmp_path, ffn)
    shape, matrix = trained_projection(tmp_path)
    assert (shape.kind, shape.n, shape.m) == (ffn.kind, 32, 64)
    assert (shape.rank, shape.nblocks) == (ffn.rank, ffn.nblocks)
    with torch.no_grad():
        columns = made.fc1(torch.eye(32)).numpy().T - made.fc1(torch.zeros(1, 32)).numpy().T
    assert matrix == pytest.approx(columns, abs=1e-6)
    # Untrained, it has the spectrum that the definition foretells.
    foretold = initial_singular_values(shape)
    found = np.linalg.svd(matrix, compute_uv=False)
    assert np.count_nonzero(found > 1e-6) == foretold.size
    close = 1e-5 if ffn.kind.startswith("block") else 0.2
    assert found[: foretold.size] == pytest.approx(foretold, rel=close)
    assert singular_values(matrix)[: foretold.size] == pytest.approx(found[: foretold.size])


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    checkpoint(tmp_path, FFNS[1])
    path = tmp_path / "checkpoints" / "step-00000010.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RunTableError, match=r"step-00000010\.safetensors: cannot be read"):
        trained_projection(tmp_path)
