"""Small real runs, and what they leave, for the tests of training and of resuming."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.recipes.recipe import Recipe
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.run_dir.result import Result

ROOT = Path(__file__).parents[2]
STEPS = 40
# A run's config, directory, result and reported rows.
Whole = tuple[RunConfig, Path, Result, list[Row]]
# What differs between two runs of the same numbers, one of which was killed.
TIMES = ("timestamp_ms", "tokens_per_second", "train_seconds", "peak_memory_bytes")
TIMES += ("executed_flops", "hardware_flops")

# One process of a run: config, dataset, run directory, rank, world size, rendezvous file.
PROCESS = """
import sys
from pathlib import Path
import torch
from torch import distributed
from workloads.config.run import RunConfig
from workloads.data.shards import open_dataset
from workloads.training.trainer import train
torch.set_num_threads(1)
config, dataset, run_dir, rank, world_size, rendezvous = sys.argv[1:]
if int(world_size) > 1:
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=int(world_size)
    )
result = train(RunConfig.model_validate_json(config), open_dataset(Path(dataset)), Path(run_dir))
print(result.val_loss)
if int(world_size) > 1:
    distributed.destroy_process_group()
"""


def pico(**changes: Any) -> RunConfig:
    """A low-rank pico of `STEPS` steps; keywords as in a recipe, and `batch_size`."""
    batch_size = changes.pop("batch_size", 8)
    recipe: dict[str, Any] = {
        "preset": "pico",
        "ffn": {"kind": "lowrank", "rank": 8},
        "budget": {"steps": STEPS},
        "eval_tokens": 1500,
        "runtime": {
            "micro_batch_size": 8,
            "log_interval": 1,
            "eval_interval": 10,
            "checkpoint_interval": 5,
        },
    }
    recipe["runtime"] |= changes.pop("runtime", {})
    config = Recipe.model_validate(recipe | changes).resolve()
    return config.model_copy(update={"batch_size": batch_size})


def rows_of(run_dir: Path) -> list[Row]:
    """The recorded rows, but for times."""
    rows, _ = read_rows(run_dir / "metrics.jsonl")
    return [{key: row[key] for key in row if key not in TIMES} for row in rows]


def newest_checkpoint(run_dir: Path) -> Path:
    return max((run_dir / "checkpoints").glob("step-*.safetensors"))


def final_state(run_dir: Path) -> dict[str, Tensor]:
    """Weights, optimizer and generator of the newest checkpoint."""
    return load_file(newest_checkpoint(run_dir))


def weights_of(run_dir: Path) -> dict[str, Tensor]:
    state = final_state(run_dir)
    return {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")}


def assert_same_run(first: Path, second: Path) -> None:
    assert rows_of(first) == rows_of(second)
    assert_same_state(first, second)


def assert_same_state(first: Path, second: Path) -> None:
    states = final_state(first), final_state(second)
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


def start(
    config: RunConfig,
    dataset: TokenDataset,
    run_dir: Path,
    rank: int = 0,
    world_size: int = 1,
) -> "subprocess.Popen[str]":
    arguments = [config.model_dump_json(), dataset.directory, run_dir, rank, world_size]
    rendezvous = run_dir.with_suffix(".rendezvous")
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, *map(str, arguments), str(rendezvous)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after(config: RunConfig, dataset: TokenDataset, run_dir: Path, step: int) -> None:
    """Train in a process of its own and SIGKILL it once `step` is recorded."""
    with start(config, dataset, run_dir) as process:
        deadline = time.monotonic() + 60
        while not any(row["step"] >= step for row in rows_of(run_dir)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
