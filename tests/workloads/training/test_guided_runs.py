"""Guided runs: their text and steps, what is left of guides, and the recipe by hand."""

import gc
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from tests.workloads.guided import matrix
from tests.workloads.small_runs import final_state, pico, rows_of, weights_of
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.data.loader import Batch, BatchLoader, eval_batches
from workloads.nn.ffn import FeedForward
from workloads.nn.projections.base import Projection
from workloads.nn.transformer import Transformer
from workloads.optim.build import build_optimizer
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


def guided_run(**guide: Any) -> RunConfig:
    """Ten steps, the first five of them guided, and the five more of `fixed_flops`."""
    changes = {key: guide.pop(key) for key in ("budget", "model", "ffn", "runtime") if key in guide}
    return pico(**{"budget": {"steps": 10}, "guide": {"ratio": 0.5} | guide} | changes)


def saved_names(run_dir: Path, step: int) -> set[str]:
    """Names in the checkpoint of `step`, which a later one has not yet replaced."""
    path = run_dir / "checkpoints" / f"step-{step:08d}.safetensors"
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def test_after_guidance_nothing_of_it_is_left(stdlib: TokenDataset, tmp_path: Path) -> None:
    """Neither in checkpoints nor in memory."""
    runtime = {"eval_interval": 1, "checkpoint_interval": 1}
    names: list[set[str]] = []
    held: dict[str, dict[float, int]] = {}
    guide = {"ratio": 0.5, "reduce_flops": False}

    def run(name: str, config: RunConfig) -> None:
        before, held[name] = held_bytes(), {}

        def look(row: Row) -> None:
            if row["step"] in (2, 4, 6):
                held[name][row["step"]] = held_bytes() - before
            if name == "guided" and row["step"] > 1:
                names.append(saved_names(tmp_path / name, int(row["step"]) - 1))

        train(config, stdlib, tmp_path / name, look)

    run("guided", pico(budget={"steps": 6}, guide=guide, runtime=runtime))
    run("unguided", pico(budget={"steps": 6}, runtime=runtime))

    # Guided after steps 1 and 2; the checkpoint of step 3 is the first without.
    unguided = set(final_state(tmp_path / "unguided"))
    guides = [f"layers.1.mlp.{side}.guide" for side in ("fc1", "fc2")]
    extra = {f"model.{name}" for name in guides} | {
        f"optimizer.{name}.{key}" for name in guides for key in ("exp_avg", "exp_avg_sq", "step")
    }
    assert names[:2] == [unguided | extra] * 2
    assert names[2:] == [unguided] * 6
    assert set(final_state(tmp_path / "guided")) == unguided
    # A guide and its two moments, of 32 x 128 fp32 numbers each, and a count of steps; twice.
    assert held["guided"][2] == held["unguided"][2] + 2 * (3 * 4 * 32 * 128 + 4)
    assert held["guided"][4] == held["guided"][6] == held["unguided"][4] > 0


def held_bytes() -> int:
    """Bytes of the parameters and of the optimizer states that anything still holds."""
    gc.collect()
    held: list[Tensor] = []
    for thing in gc.get_objects():  # By type: `isinstance` would wake lazy modules.
        if type(thing) is nn.Parameter:
            held.append(thing)
        elif type(thing) is torch.optim.AdamW:
            held += [value for state in thing.state.values() for value in state.values()]
    return sum({tensor.untyped_storage().data_ptr(): tensor.nbytes for tensor in held}.values())


def test_fixed_flops_reads_the_first_tokens_again(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Tensor] = []

    class Watched(BatchLoader):
        def batch(self, step: int, rows: slice | range | None = None) -> Batch:
            inputs, targets = super().batch(step, rows)
            read.append(torch.cat([inputs, targets], dim=1))
            return inputs, targets

    monkeypatch.setattr("workloads.training.trainer.BatchLoader", Watched)
    config = pico(budget={"steps": 10}, guide={"ratio": 0.39})
    assert [phase.steps for phase in config.phases] == [3, 10]
    result = train(config, stdlib, tmp_path)
    assert len(read) == 13
    assert all(torch.equal(again, first) for again, first in zip(read[10:], read[:3], strict=True))
    assert len({tuple(batch.flatten().tolist()) for batch in read[:10]}) == 10
    # Text that is read again is not new text.
    assert result.tokens == config.tokens == 10 * 8 * 128
    rows = rows_of(tmp_path)
    assert [row["tokens"] for row in rows] == [min(k, 10) * 8 * 128 for k in range(1, 14)]
    assert [row["step"] for row in rows] == list(range(1, 14))
    assert rows[-1]["val_loss"] == result.val_loss
    # Warm-up and decay take the total: int(0.1 x 13) = 1, and then 12 steps of cosine.
    peak = config.optimizer.learning_rate
    expected = [peak] + [peak * (0.1 + 0.45 * (1 + math.cos(math.pi * k / 12))) for k in range(12)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], expected, rtol=1e-12)
    shares = [(1 + math.cos(math.pi * k / 3)) / 2 for k in range(3)] + [0.0] * 10
    np.testing.assert_allclose([row["guide_share"] for row in rows], shares, atol=1e-12)


def test_fixed_steps_reads_no_token_again(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = guided_run(mode="fixed_steps")
    assert ([phase.steps for phase in config.phases], config.tokens) == ([5, 5], 10 * 8 * 128)
    result = train(config, stdlib, tmp_path)
    assert (result.step, result.tokens) == (10, 10 * 8 * 128)


def test_a_run_guided_to_its_end_ends_without_guides(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = guided_run(mode="fixed_steps", ratio=1.0)
    result = train(config, stdlib, tmp_path)
    assert (result.status, result.step) == ("finished", 10)
    assert not any("guide" in name for name in final_state(tmp_path))
    # The evaluation at the end, with a share of 0, is that of the unguided model.
    (tmp_path / "result.json").unlink()
    assert train(config, stdlib, tmp_path).val_loss == pytest.approx(result.val_loss, rel=1e-6)


@pytest.mark.parametrize("kind", ["lowrank", "blockshuffle"])
def test_guided_training_is_the_recipe_written_by_hand(
    stdlib: TokenDataset, tmp_path: Path, kind: str
) -> None:
    """In float64: a second guided model, trained as the definition says."""
    ffn = {"kind": "lowrank", "rank": 5} if kind == "lowrank" else {"kind": kind, "nblocks": 4}
    config = pico(
        ffn=ffn,
        budget={"steps": 8},
        guide={"ratio": 0.5, "reduce_flops": False},
        learning_rate=1e-3,
        seed=3,
    )
    train(config, stdlib, tmp_path)
    torch.manual_seed(3)
    model = Transformer(config.model).double()
    for layer in model.layers[1:]:
        layer.mlp = FeedForwardByHand(layer.mlp)
    optimizer = build_optimizer(model, config.optimizer)
    loader = BatchLoader(stdlib.split("train"), 128, 8, 3)
    rows = rows_of(tmp_path)
    assert len(rows) == 12
    for step, row in enumerate(rows):
        for module in model.modules():
            if isinstance(module, ByHand):
                module.share = (1 + math.cos(math.pi * step / 4)) / 2 if step < 4 else 0.0
        inputs, targets = loader.batch(step if step < 8 else step - 8)
        logits = model(inputs)
        loss = -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()
        optimizer.zero_grad()
        loss.backward()
        if step == 3:
            slopes = [m.guide.grad for m in model.modules() if isinstance(m, ByHand)]
            assert all(slope is not None and slope.abs().sum() > 0 for slope in slopes)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = row["learning_rate"]
        optimizer.step()
        # The rounding of fp32, which the steps amplify.
        assert row["train_loss"] == pytest.approx(float(loss.detach()), rel=2e-6 * (1 + step))
        assert row["grad_norm"] == pytest.approx(float(norm), rel=2e-5 * (1 + step))


def test_evaluation_amid_guidance_is_of_the_whole_mixture(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    """At the share that the steps so far have left, whatever the next step draws."""
    config = pico(
        model={"num_layers": 3},
        budget={"steps": 20},
        guide={"ratio": 0.5, "mode": "fixed_steps"},
        runtime={"eval_interval": 1, "checkpoint_interval": 1},
        eval_tokens=300,
    )
    inputs, targets = next(eval_batches(stdlib.split("val"), 128, 2, 300))
    expected: dict[float, float] = {}

    def look(row: Row) -> None:
        before = row["step"] - 1  # Of the newest checkpoint.
        if before not in (1, 3, 5, 7):
            return
        model = Transformer(config.model)
        for layer in model.layers[1:]:
            layer.mlp = FeedForwardByHand(layer.mlp)
        model.load_state_dict(weights_of(tmp_path))
        for module in model.modules():
            if isinstance(module, ByHand):
                module.share = (1 + math.cos(math.pi * before / 10)) / 2
        with torch.no_grad():
            expected[before] = float(model(inputs, targets))

    train(config, stdlib, tmp_path, look)
    found = {row["step"]: row["val_loss"] for row in rows_of(tmp_path) if row["step"] in expected}
    assert found == pytest.approx(expected, rel=2e-6)
    assert len(expected) == 4


class FeedForwardByHand(nn.Module):
    """fc2(GELU(fc1(x))), under the names of the layer's own weights."""

    def __init__(self, layer: object) -> None:
        super().__init__()
        assert isinstance(layer, FeedForward)
        self.fc1, self.fc2 = ByHand(layer.fc1), ByHand(layer.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class ByHand(nn.Module):
    """a W x + (1 - a) structured(x) + b, through materialized matrices."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        assert isinstance(projection, Projection)
        self.u, self.v = (nn.Parameter(projection.get_parameter(n).detach()) for n in "uv")
        self.bias = nn.Parameter(projection.get_parameter("bias").detach())
        self.guide = nn.Parameter(matrix(projection))
        self.share = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.v.ndim == 2:
            structured = self.u @ self.v
        else:
            blocks = len(self.v)
            place = torch.arange(blocks * self.u.shape[1]).reshape(-1, blocks).T.flatten()
            number = torch.arange(blocks * self.u.shape[2]).reshape(-1, blocks).T.flatten()
            outer = torch.zeros(len(place), len(number), dtype=x.dtype)
            outer = outer.index_put((place[:, None], number[None]), torch.block_diag(*self.u))
            structured = outer @ torch.block_diag(*self.v)
        if not self.share:
            return x @ structured.T + self.bias
        return x @ (self.share * self.guide + (1 - self.share) * structured).T + self.bias


def test_steps_are_faster_when_guidance_has_ended(stdlib: TokenDataset, tmp_path: Path) -> None:
    # The dense guides cost many times the low-rank weights, so that noise does not hide it.
    config = pico(
        model={"hidden_dim": 256, "ffn_dim": 1024, "num_heads": 4, "block_size": 64},
        ffn={"kind": "lowrank", "rank": 16, "keep_first_dense": False},
        guide={"ratio": 0.5, "mode": "fixed_steps", "reduce_flops": False},
        budget={"steps": 24},
        runtime={"eval_interval": 100, "checkpoint_interval": 100},
    )
    train(config, stdlib, tmp_path)
    rows, _ = read_rows(tmp_path / "metrics.jsonl")
    speed = [row["tokens_per_second"] for row in rows]
    assert [row["guide_share"] > 0 for row in rows] == [True] * 12 + [False] * 12
    # The best of each: other work on the machine only ever slows a step.
    assert max(speed[13:]) > 1.3 * max(speed[1:12])
