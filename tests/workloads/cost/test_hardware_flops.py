"""`hardware_flops` against what a counter sees in real runs, and by hand."""

from pathlib import Path
from typing import Any

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kernels import switches
from tests.workloads.cost.test_flops import guided, name
from workloads.config.model import FFNConfig
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost.flops import (
    hardware_flops,
    hardware_flops_at,
    train_flops,
    train_flops_at,
    train_flops_per_token,
)
from workloads.data.dataset import TokenDataset
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")

# The blocks of the last share whole numbers of features, pair by pair; 20 is no multiple of 5^2.
STRUCTURES = [
    FFNConfig(kind="lowrank", rank=5),
    FFNConfig(kind="blockdense", rank=10, nblocks=5),
    FFNConfig(kind="blockshuffle", nblocks=5),
    FFNConfig(kind="blockshuffle", nblocks=2, keep_first_dense=False),
]
over_structures = pytest.mark.parametrize("ffn", STRUCTURES, ids=lambda f: f"{f.kind}-{f.nblocks}")


def run(ffn: FFNConfig, reduce_flops: bool = False, **runtime: Any) -> RunConfig:
    """6 steps of 4 sequences of 64 tokens, 3 of them guided, and one evaluation at the end."""
    config = guided(ffn, reduce_flops, "fixed_steps", block_size=64)
    runtime = {"micro_batch_size": 4, "log_interval": 1, "eval_interval": 1000} | runtime
    changes = {"batch_size": 4, "steps": 6, "eval_tokens": 256}
    return config.model_copy(update={**changes, "runtime": RuntimeConfig.model_validate(runtime)})


def counted(config: RunConfig, dataset: TokenDataset, run_dir: Path) -> float:
    """What a real run executes but for its evaluation, which is a forward pass without guides."""
    counter = FlopCounterMode(display=False)
    # The mathematical attention executes the whole T x T square, and the counter sees it.
    with sdpa_kernel(SDPBackend.MATH), counter:
        train(config, dataset, run_dir)
    return counter.get_total_flops() - 256 * train_flops_per_token(config.phases[-1].model) / 3


@pytest.mark.parametrize(
    ("ffn", "micro_batch_size", "recomputed"),
    [
        *((ffn, 4, 0) for ffn in STRUCTURES),
        (STRUCTURES[0], 1, 0),
        (STRUCTURES[1], 4, 1),
        (STRUCTURES[3], 4, 1),
        (STRUCTURES[2], 1, 2),
    ],
    ids=name,
)
def test_a_real_run_executes_them(
    stdlib: TokenDataset, tmp_path: Path, ffn: FFNConfig, micro_batch_size: int, recomputed: int
) -> None:
    """Whatever the micro-batches: guides are merged, and their gradients taken apart, once."""
    config = run(ffn, micro_batch_size=micro_batch_size, activation_checkpointing=recomputed)
    found = counted(config, stdlib, tmp_path)
    # The weights' initialization is in the count too.
    assert found == pytest.approx(hardware_flops(config), rel=2e-3)
    # What merges and recomputation make of the nominal count is far above that tolerance.
    assert abs(hardware_flops(config) / train_flops(config) - 1) > 0.02


@over_structures
def test_guidance_as_defined_executes_the_nominal_ones(
    stdlib: TokenDataset, tmp_path: Path, ffn: FFNConfig
) -> None:
    config = run(ffn)
    with switches.reference():
        assert hardware_flops(config) == train_flops(config)
        assert counted(config, stdlib, tmp_path) == pytest.approx(train_flops(config), rel=2e-3)
        again = hardware_flops(run(ffn, activation_checkpointing=1))
    logits = 6 * 256 * 3 * 2 * config.model.vocab_size * config.model.hidden_dim
    forward = (train_flops(config) - logits) / 3
    # The first layer's FFN is dense, unless that too is structured, and ends with a product that
    # nothing needs again.
    left_out = 6 * 256 * 2 * 60 * 20 if ffn.keep_first_dense else 0
    assert again == train_flops(config) + forward - left_out


@over_structures
def test_drawn_guides_execute_them_on_average(ffn: FFNConfig) -> None:
    """Half of what a step with all guides and a step with none execute together."""
    config = run(ffn, reduce_flops=True, activation_checkpointing=2)
    whole = hardware_flops_at(run(ffn, activation_checkpointing=2), 3)
    none = hardware_flops_at(config, 4) - hardware_flops_at(config, 3)
    assert hardware_flops_at(config, 3) == (whole + 3 * none) / 2


def test_by_hand() -> None:
    """Four guided projections of 20 x 60 and rank 5 in two of three layers."""
    config = run(FFNConfig(kind="lowrank", rank=5))
    structured, guides, tokens = 4 * 5 * 80, 4 * 20 * 60, 256
    step = tokens * train_flops_per_token(config.phases[-1].model)
    merged = step + tokens * 6 * (guides - structured) + 6 * 4 * 20 * 60 * 5
    assert hardware_flops_at(config, 0) == 0
    assert hardware_flops_at(config, 2) == 2 * merged
    assert hardware_flops_at(config, 5) == 3 * merged + 2 * step
    assert hardware_flops(config) == 3 * merged + 3 * step
    without = config.model_copy(update={"model": config.model.model_copy(update={"guide": None})})
    assert hardware_flops(without) == train_flops(without)


def test_they_are_recorded_beside_the_nominal_ones(stdlib: TokenDataset, tmp_path: Path) -> None:
    """For the steps that stand: a life that was lost does not count."""
    config = run(STRUCTURES[0], activation_checkpointing=1, checkpoint_interval=2, eval_interval=5)

    class Lost(Exception):
        pass

    def lose(row: Row) -> None:
        raise Lost

    with pytest.raises(Lost):  # After step 5, of which there is no checkpoint.
        train(config, stdlib, tmp_path, lose)
    result = train(config, stdlib, tmp_path)
    rows, _ = read_rows(tmp_path / "metrics.jsonl")
    assert [row["hardware_flops"] for row in rows] == [
        hardware_flops_at(config, step) for step in range(1, 7)
    ]
    assert [row["train_flops"] for row in rows] == [train_flops_at(config, k) for k in range(1, 7)]
    assert result.hardware_flops == hardware_flops(config)
    assert result.executed_flops > result.train_flops
