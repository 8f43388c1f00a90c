"""Real runs under each optimizer: resumed, on two workers, and at what they are planned to cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.workloads.small_runs import assert_same_run, final_state, pico, rows_of
from tests.workloads.training.test_parallel import assert_close, train_on_two
from workloads.config.run import RunConfig
from workloads.cost.flops import hardware_flops, train_flops, train_flops_per_token, trained
from workloads.data.dataset import TokenDataset
from workloads.errors import Preempted
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"kind": "adamw"},
    "sophia_g": {"kind": "sophia_g", "hessian_interval": 3, "rho": 0.5},
    "muon": {"kind": "muon", "decay": "hidden_matrices"},
}
over_optimizers = pytest.mark.parametrize("kind", OPTIMIZERS)


def run(kind: str, **changes: Any) -> RunConfig:
    """Nine steps of 8 sequences with blocks, a guide that draws and, by one worker, dropout."""
    recipe: dict[str, Any] = {
        "ffn": {"kind": "blockdense", "rank": 12, "nblocks": 2},
        "guide": {"ratio": 0.4},
        "budget": {"steps": 7},
        "optimizer": OPTIMIZERS[kind],
        "learning_rate": 2e-3,
        "runtime": {"eval_interval": 1},
    }
    return pico(**(recipe | changes))


@over_optimizers
def test_a_resumed_run_is_the_undisturbed_one_to_the_last_digit(
    kind: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = run(kind, model={"dropout": 0.1})
    assert config.total_steps == 9
    whole = train(config, stdlib, tmp_path / "whole")
    assert whole.status == "finished"
    # Before and after an estimate of the Hessian, and while the guide is there.
    for count in (1, 3):
        calls = 0

        def stop(after: int = count) -> bool:
            nonlocal calls
            calls += 1
            return calls >= after

        with pytest.raises(Preempted):
            train(config, stdlib, tmp_path / "resumed", should_stop=stop)
    resumed = train(config, stdlib, tmp_path / "resumed")
    assert 1 < resumed.resumed_step < 9
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "parallel"),
    [
        ("sophia_g", "ddp"),
        ("muon", "fsdp"),
        pytest.param("sophia_g", "fsdp", marks=pytest.mark.slow),
        pytest.param("muon", "ddp", marks=pytest.mark.slow),
    ],
)
def test_two_workers_train_as_one(
    kind: str,
    parallel: Literal["ddp", "fsdp"],
    stdlib: TokenDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    train(run(kind), stdlib, tmp_path / "alone")
    config = run(kind, runtime={"micro_batch_size": 2, "parallel": parallel, "eval_interval": 1})
    train_on_two(config, stdlib, tmp_path / "run")
    assert_close(tmp_path / "run", tmp_path / "alone")
    found, expected = final_state(tmp_path / "run"), final_state(tmp_path / "alone")
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in expected.items()}


@over_optimizers
def test_the_planned_state_is_the_state_of_a_checkpoint(
    kind: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    for number, changes in enumerate([{}, {"guide": None}]):
        config = run(kind, budget={"steps": 3}, **changes)
        train(config, stdlib, tmp_path / str(number))
        state = final_state(tmp_path / str(number))
        # Counts of steps, one number a parameter tensor, are left out.
        found = sum(t.nbytes for n, t in state.items() if n.startswith("optimizer.") and t.ndim)
        assert found == config.optimizer.state_bytes(trained(config.phases[-1].model))


@over_optimizers
def test_the_planned_flops_are_those_that_are_executed(
    kind: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    """Six steps, of which Sophia-G estimates in two."""
    config = run(
        kind,
        guide=None,
        budget={"steps": 6},
        eval_tokens=1024,
        runtime={"micro_batch_size": 8, "eval_interval": 1000, "log_interval": 1000},
    )
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        train(config, stdlib, tmp_path)
    evaluated = 1024 * train_flops_per_token(config.model) / 3
    executed = counter.get_total_flops() - evaluated
    assert executed == pytest.approx(hardware_flops(config), rel=2e-3)
    assert rows_of(tmp_path)[-1]["train_flops"] == train_flops(config)
    passes = config.total_steps * config.tokens_per_step * train_flops_per_token(config.model)
    more = train_flops(config) / passes - 1
    low, high = {"adamw": (0, 0), "sophia_g": (1 / 3, 0.45), "muon": (0.01, 0.5)}[kind]
    assert low <= more <= high


@over_optimizers
def test_a_grown_model_takes_over_the_state_of_its_base(
    kind: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    grow = {"operator": "stack", "layers": 4, "at": {"fraction": 0.5}, "optimizer_state": "carry"}
    config = run(kind, guide=None, budget={"steps": 6}, grow=grow)
    result = train(config, stdlib, tmp_path)
    assert (result.status, result.step) == ("finished", 6)
    state = final_state(tmp_path)
    found = sum(t.nbytes for n, t in state.items() if n.startswith("optimizer.") and t.ndim)
    assert found == config.optimizer.state_bytes(trained(config.phases[-1].model))


def test_sophia_g_reads_no_other_text_and_takes_the_time_of_its_estimates(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    """The same tokens as AdamW's run, and a Hessian that is there after the first step."""
    config = run("sophia_g", guide=None, budget={"steps": 1})
    result = train(config, stdlib, tmp_path)
    assert result.tokens == config.tokens_per_step
    state = final_state(tmp_path)
    hessians = {n: t for n, t in state.items() if n.endswith(".hessian")}
    assert len(hessians) == sum(n.startswith("model.") for n in state)
    assert all(bool(torch.isfinite(t).all()) and float(t.max()) > 0 for t in hessians.values())
