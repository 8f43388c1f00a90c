"""Real training on real text: repeated, divided, diverged, refused, and once by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.workloads.small_runs import (
    STEPS,
    TIMES,
    Whole,
    assert_same_run,
    assert_same_state,
    newest_checkpoint,
    pico,
    rows_of,
    start,
    weights_of,
)
from workloads.data.dataset import TokenDataset
from workloads.data.loader import BatchLoader
from workloads.errors import InputError
from workloads.nn.transformer import Transformer
from workloads.optim.build import build_optimizer
from workloads.training import checkpoint
from workloads.training.checkpoint import Progress
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


# A run and its numbers


def test_a_run_learns_and_records_what_it_did(whole: Whole) -> None:
    config, run_dir, result, reported = whole
    rows = rows_of(run_dir)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    for row in rows:
        assert row["tokens"] == row["step"] * 8 * 128
        assert row["train_flops"] * config.tokens == row["tokens"] * result.train_flops
    assert rows[0]["train_loss"] == pytest.approx(math.log(257), rel=0.02)
    assert result.val_loss is not None and result.val_loss < rows[0]["train_loss"] - 1
    evaluated = [row for row in rows if "val_loss" in row]
    assert [row["step"] for row in evaluated] == [10, 20, 30, 40]
    assert [{k: v for k, v in row.items() if k not in TIMES} for row in reported] == evaluated
    last = evaluated[-1]
    assert (result.val_loss, result.bits_per_byte) == (last["val_loss"], last["bits_per_byte"])
    assert (result.status, result.step, result.resumed_step) == ("finished", STEPS, 0)
    assert (result.tokens, result.train_flops) == (last["tokens"], last["train_flops"])
    assert result.environment["precision"] == "fp32"
    assert result.train_seconds > 0


def test_val_loss_is_that_of_the_final_checkpoint(whole: Whole, stdlib: TokenDataset) -> None:
    config, run_dir, result, _ = whole
    model = Transformer(config.model).double()
    model.load_state_dict({name: tensor.double() for name, tensor in weights_of(run_dir).items()})
    # 1,500 tokens are eleven windows of 128, from the start of the validation tokens.
    tokens = np.fromfile(stdlib.directory / "val-00000.bin", dtype="<u2").astype(np.int64)
    total = 0.0
    for window in range(11):
        at = window * 128
        logits = model(torch.from_numpy(tokens[at : at + 128])[None])[0].detach().numpy()
        logits -= logits.max(axis=1, keepdims=True)
        normalizer = np.log(np.exp(logits).sum(axis=1))
        total += float((normalizer - logits[range(128), tokens[at + 1 : at + 129]]).sum())
    assert result.val_loss == pytest.approx(total / (11 * 128), rel=1e-5)

    # Bits per byte: every token but the ends of documents is a byte.
    bytes_per_token = (tokens != 256).mean()
    assert result.val_loss is not None
    expected = result.val_loss / math.log(2) / bytes_per_token
    assert result.bits_per_byte == pytest.approx(expected, rel=1e-9)


def test_training_is_the_recipe_written_by_hand(stdlib: TokenDataset, tmp_path: Path) -> None:
    # A low rate: a high one amplifies the rounding of float32.
    config = pico(budget={"steps": 12}, learning_rate=2e-3, seed=3)
    clipped = config.optimizer.model_copy(update={"max_grad_norm": 2.0})
    config = config.model_copy(update={"optimizer": clipped})
    train(config, stdlib, tmp_path)

    # In float64: cross entropy, clipping, the schedule and AdamW from their formulas.
    torch.manual_seed(config.seed)
    model = Transformer(config.model).double()
    loader = BatchLoader(stdlib.split("train"), 128, 8, config.seed)
    parameters = list(model.parameters())
    means = [torch.zeros_like(parameter) for parameter in parameters]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    scales = []
    for step, row in enumerate(rows_of(tmp_path)):
        inputs, targets = loader.batch(step)
        logits = model(inputs)
        picked = logits.gather(-1, targets[..., None]).squeeze(-1)
        loss = (logits.logsumexp(-1) - picked).mean()
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(float(gradient.pow(2).sum()) for gradient in gradients))
        rate = 2e-3 if step < 1 else 2e-4 + 9e-4 * (1 + math.cos(math.pi * (step - 1) / 11))
        assert row["train_loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-5)
        assert row["learning_rate"] == pytest.approx(rate, rel=1e-12)
        scales.append(min(1.0, 2.0 / norm))
        with torch.no_grad():
            for parameter, gradient, mean, square in zip(
                parameters, gradients, means, squares, strict=True
            ):
                gradient = gradient * scales[-1]
                mean.mul_(0.9).add_(0.1 * gradient)
                square.mul_(0.999).add_(0.001 * gradient**2)
                parameter -= rate * 0.1 * parameter
                root = (square / (1 - 0.999 ** (step + 1))).sqrt()
                parameter -= rate * mean / (1 - 0.9 ** (step + 1)) / (root + 1e-8)
    assert min(scales) < 0.9 < max(scales) == 1.0, "clipping was not tested"


def test_the_same_seed_gives_the_same_bits(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, run_dir, result, _ = whole
    torch.manual_seed(12345)
    again = train(config, stdlib, tmp_path / "again")
    assert again.val_loss == result.val_loss
    assert_same_run(run_dir, tmp_path / "again")
    other = train(config.model_copy(update={"seed": 1}), stdlib, tmp_path / "other")
    assert other.val_loss != result.val_loss
    losses = [row["train_loss"] for row in rows_of(tmp_path / "other")]
    assert not set(losses) & {row["train_loss"] for row in rows_of(run_dir)}


def test_how_a_run_executes_does_not_change_it(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    _, run_dir, result, _ = whole
    runtime = {"log_interval": 9, "eval_interval": 12, "checkpoint_interval": 13}
    again = train(pico(runtime=runtime), stdlib, tmp_path)
    assert (again.fingerprint, again.val_loss) == (result.fingerprint, result.val_loss)
    assert_same_state(tmp_path, run_dir)
    steps = [row["step"] for row in rows_of(tmp_path)]
    assert steps == [9, 12, 18, 24, 27, 36, 40]


# Divided


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_micro_batches_sum_to_the_whole_batch(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path, micro_batch_size: int
) -> None:
    _, undisturbed, _, _ = whole
    runtime = {"micro_batch_size": micro_batch_size}
    train(pico(runtime=runtime), stdlib, tmp_path)
    assert_close_runs(tmp_path, undisturbed)


def test_two_workers_train_as_one(whole: Whole, stdlib: TokenDataset, tmp_path: Path) -> None:
    _, undisturbed, _, _ = whole
    config = pico(runtime={"micro_batch_size": 2})
    run_dir = tmp_path / "run"
    workers = [start(config, stdlib, run_dir, rank, 2) for rank in range(2)]
    printed = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert printed[0] == printed[1], "the workers do not agree"
    assert_close_runs(run_dir, undisturbed)
    # One worker goes on where two stopped.
    (run_dir / "result.json").unlink()
    newest_checkpoint(run_dir).unlink()
    train(pico(), stdlib, run_dir)
    assert_close_runs(run_dir, undisturbed)


def assert_close_runs(first: Path, second: Path) -> None:
    """The same losses to rounding, which the steps amplify."""
    rows = list(zip(rows_of(first), rows_of(second), strict=True))
    for key in ("train_loss", "grad_norm"):
        assert rows[0][0][key] == pytest.approx(rows[0][1][key], rel=1e-6)
    for found, expected in rows:
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-2 if key == "grad_norm" else 1e-4)


def test_a_batch_that_does_not_divide_is_refused(stdlib: TokenDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"batch_size 8 must divide .* micro-batches of 3; change"):
        train(pico(runtime={"micro_batch_size": 3}), stdlib, tmp_path)


# Diverged


def test_a_run_that_diverges_stops_at_its_last_good_step(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = pico(learning_rate=1e6, runtime={"checkpoint_interval": 1})
    result = train(config, stdlib, tmp_path)
    assert result.status == "diverged"
    assert result.step == 1  # Whose gradient was finite; the loss of step 2 was not.
    assert result.tokens == 8 * 128
    assert (result.val_loss, result.bits_per_byte) == (None, None)
    assert [row["step"] for row in rows_of(tmp_path)] == [1]
    assert newest_checkpoint(tmp_path).name == "step-00000001.safetensors"
    assert all(tensor.isfinite().all() for tensor in weights_of(tmp_path).values())
    assert strict_json(tmp_path / "result.json")["status"] == "diverged"
    assert train(config, stdlib, tmp_path) == result  # It has ended.


def test_a_poisoned_weight_stops_the_run_before_its_step(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = pico(budget={"steps": 6})
    train(config, stdlib, tmp_path)
    (tmp_path / "result.json").unlink()
    newest_checkpoint(tmp_path).unlink()
    # Step 5 again, with one weight infinite.
    model = Transformer(config.model)
    optimizer = build_optimizer(model, config.optimizer)
    run_id = (tmp_path / "fingerprint").read_text()
    saved = checkpoint.newest(tmp_path / "checkpoints", run_id)
    assert saved and saved.progress.step == 5
    saved.load(model, optimizer)
    with torch.no_grad():
        model.get_parameter("ln_f.weight")[3] = math.inf
    tensors = checkpoint.collect(model, optimizer)
    checkpoint.save(tmp_path / "checkpoints", tensors, Progress(5), run_id)
    poisoned = newest_checkpoint(tmp_path).read_bytes()

    result = train(config, stdlib, tmp_path)
    assert (result.status, result.step) == ("diverged", 5)
    assert newest_checkpoint(tmp_path).read_bytes() == poisoned


def test_a_run_whose_evaluation_is_not_finite_has_diverged(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    # The only step has a finite loss, and leaves weights that have none.
    result = train(pico(budget={"steps": 1}, learning_rate=1e6), stdlib, tmp_path)
    assert (result.status, result.step, result.val_loss) == ("diverged", 1, None)
    assert not rows_of(tmp_path)
    assert strict_json(tmp_path / "result.json")["val_loss"] is None


def strict_json(path: Path) -> dict[str, Any]:
    """JSON without the NaN and Infinity that other readers refuse."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


# Refused


def test_data_with_more_tokens_than_the_model_is_refused(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = pico()
    shape = config.model.model_copy(update={"vocab_size": 256})
    with pytest.raises(InputError, match=r"data has 257 token ids .* vocab_size is 256; choose"):
        train(config.model_copy(update={"model": shape}), stdlib, tmp_path)
    train(pico(budget={"steps": 1}), stdlib, tmp_path)  # The directory is still nobody's.


def test_the_directory_of_another_run_is_refused_and_left_alone(
    whole: Whole, stdlib: TokenDataset
) -> None:
    _, run_dir, result, _ = whole
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"{run_dir} belongs to run {result.fingerprint}, not "):
        train(pico(seed=1), stdlib, run_dir)
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert after == before


def test_another_run_is_refused_before_the_first_checkpoint_too(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    diverged = train(pico(learning_rate=1e6), stdlib, tmp_path)
    assert diverged.status == "diverged" and not (tmp_path / "checkpoints").exists()
    # Otherwise the lower rate's first steps would be recorded as the diverged run's.
    with pytest.raises(InputError, match=r"belongs to run .*; choose another directory"):
        train(pico(learning_rate=1e-3), stdlib, tmp_path)


@pytest.mark.gpu
def test_a_gpu_follows_the_cpu(whole: Whole, stdlib: TokenDataset, tmp_path: Path) -> None:
    config, undisturbed, expected, _ = whole
    result = train(config, stdlib, tmp_path)
    assert result.environment["precision"] == "bf16 autocast"
    assert result.val_loss == pytest.approx(expected.val_loss, rel=0.02)
    for found, row in zip(rows_of(tmp_path), rows_of(undisturbed), strict=True):
        assert found["train_loss"] == pytest.approx(row["train_loss"], rel=0.02)
    (tmp_path / "result.json").unlink()
    newest_checkpoint(tmp_path).unlink()
    assert train(config, stdlib, tmp_path).val_loss == pytest.approx(result.val_loss, rel=0.01)
