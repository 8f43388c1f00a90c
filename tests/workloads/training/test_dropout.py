"""Dropout: its rate, its scale, its places, and draws that differ by step and worker."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.workloads.definition import build, config, reference, tokens_of
from tests.workloads.small_runs import pico, rows_of
from workloads.data.dataset import TokenDataset
from workloads.data.loader import Batch, BatchLoader
from workloads.nn.transformer import Block
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


def test_dropout_is_off_in_evaluation() -> None:
    shape = config(dropout=0.5)
    model, tokens = build(shape).eval(), tokens_of(shape)
    torch.testing.assert_close(model(tokens), reference(config(), model, tokens), rtol=0, atol=1e-5)
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_without_dropout_training_draws_nothing() -> None:
    shape = config()
    model, tokens = build(shape), tokens_of(shape)
    before = torch.get_rng_state()
    assert torch.equal(model.train()(tokens), model.eval()(tokens))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("part", "rate"), [("embedding", 0.1), ("attention", 0.1), ("ffn", 0.1), ("attention", 0.4)]
)
def test_dropout_has_its_rate_and_scale_in_training(part: str, rate: float) -> None:
    """Each entry of what is added to the stream is 0 or 1/(1 - rate) of what it was."""
    shape = config(dropout=rate, hidden_dim=60, attn_dim=60, ffn_dim=90, block_size=100)
    model, tokens = build(shape), tokens_of(shape, batch=4)
    block = model.layers[0]
    assert isinstance(block, Block)
    added: dict[bool, Tensor] = {}
    stream = torch.randn(4, 100, 60, dtype=torch.float64)
    silenced = {"attention": "mlp.fc2", "ffn": "attention.o_linear"}
    if part in silenced:
        for parameter in block.get_submodule(silenced[part]).parameters():
            nn.init.zeros_(parameter)
    for training in (True, False):
        model.train(training)
        if part == "embedding":
            entered: list[Tensor] = []

            def enter(_: nn.Module, inputs: tuple[Tensor, ...], to: list[Tensor] = entered) -> None:
                to.append(inputs[0].detach())

            handle = block.register_forward_pre_hook(enter)
            model(tokens)
            handle.remove()
            added[training] = entered[0]
        else:
            assert model.rotation is not None
            added[training] = (block(stream, model.rotation) - stream).detach()
    kept = added[True] != 0
    assert (added[False] != 0).all()
    torch.testing.assert_close(added[True][kept], added[False][kept] / (1 - rate))
    entries = kept.numel()
    deviation = math.sqrt(rate * (1 - rate) / entries)
    assert abs(1 - float(kept.double().mean()) - rate) < 5 * deviation
    # Entry by entry, and not whole tokens or features.
    for axis in (0, 1):
        spread = kept.flatten(0, 1).double().mean(axis)
        assert 0 < spread.std() < 0.1


def test_a_run_draws_dropout_anew_at_each_step_and_on_each_worker(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text and all but the same weights: only the draws tell the losses apart."""

    class Same(BatchLoader):
        def batch(self, step: int, rows: slice | range | None = None) -> Batch:
            return super().batch(0, range(8))

    monkeypatch.setattr("workloads.training.trainer.BatchLoader", Same)
    config = pico(
        model={"dropout": 0.3},
        learning_rate=1e-12,
        budget={"steps": 6},
        runtime={"eval_interval": 2, "log_interval": 1},
    )
    losses: dict[int, list[float]] = {}
    for worker in (0, 1):
        found = losses[worker] = []
        with monkeypatch.context() as patch:
            patch.setattr("workloads.training.parallel.rank", lambda worker=worker: worker)
            run_dir = tmp_path / str(worker)
            train(config, stdlib, run_dir, lambda row, to=found: to.append(row["train_loss"]))
    steps = [row["train_loss"] for row in rows_of(tmp_path / "0")]
    assert len({round(loss, 5) for loss in steps}) == 6
    assert steps[1::2] == losses[0]
    assert not set(losses[0]) & set(losses[1])
    # All of them with dropout, after evaluations too.
    plain = config.model_copy(update={"model": config.model.model_copy(update={"dropout": 0.0})})
    train(plain, stdlib, tmp_path / "plain")
    without = {row["train_loss"] for row in rows_of(tmp_path / "plain")}
    assert max(without) - min(without) < 1e-6
    assert min(abs(loss - max(without)) for loss in steps) > 1e-5
