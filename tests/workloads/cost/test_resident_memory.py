"""The plan for CPUs against the resident memory of processes that take training steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels import cross_entropy, feed_forward
from workloads.config.run import RunConfig
from workloads.cost import layer_memory, memory
from workloads.recipes.recipe import Recipe

ROOT = Path(__file__).parents[3]
LLAMA = {"norm": "rmsnorm", "activation": "swiglu", "bias": False, "num_kv_heads": 1}
WIDE = {"hidden_dim": 256, "attn_dim": 256, "ffn_dim": 1024, "num_heads": 4}
INPUTS = {"activation_checkpointing": 1, "layer_inputs": "cpu"}
DENSE = {"kind": "dense"}
LOWRANK = {"kind": "lowrank", "rank": 32}
# FFN, runtime, model, what differs in the recipe: several kinds, lengths and switches.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "dense": (DENSE, {}, {"block_size": 2048}, {}),
    "layers recomputed": (DENSE, {"activation_checkpointing": 1}, {"block_size": 4096}, {}),
    "ffns recomputed": (
        LOWRANK,
        {"activation_checkpointing": 1, "recompute": "ffn"},
        {"block_size": 4096},
        {},
    ),
    "guided": (LOWRANK, {}, {"block_size": 2048}, {"guide": {"ratio": 0.5}}),
    "llama": (DENSE, {}, {"block_size": 2048} | LLAMA, {}),
    "llama, tiles, inputs": (
        DENSE,
        INPUTS | {"ffn_tile_tokens": 512},
        {"block_size": 4096, "num_layers": 3} | LLAMA,
        {},
    ),
    "one operation": (
        {"kind": "blockdense", "rank": 32, "nblocks": 4},
        {},
        {"block_size": 2048} | WIDE,
        {},
    ),
    "states apart": (
        {"kind": "blockshuffle", "nblocks": 4},
        {"offload": "optimizer"},
        {"block_size": 2048} | WIDE,
        {},
    ),
    "all apart": (
        DENSE,
        {"offload": "all", "parallel": "fsdp"} | INPUTS,
        {"block_size": 1024, "vocab_size": 16_000} | WIDE,
        {},
    ),
    "bf16": (DENSE, {"parameters": "bf16"}, {"block_size": 512, "vocab_size": 16_000} | WIDE, {}),
    "bf16, states apart": (
        DENSE,
        {"parameters": "bf16", "offload": "optimizer"},
        {"block_size": 1024, "vocab_size": 16_000} | WIDE,
        {},
    ),
}


def config_of(
    ffn: dict[str, Any], runtime: dict[str, Any], model: dict[str, Any], rest: dict[str, Any]
) -> RunConfig:
    recipe = {"preset": "mini", "ffn": ffn, "model": {"num_layers": 2} | model, "batch_size": 1}
    recipe |= {"budget": {"steps": 10}, "eval_tokens": 10**5}
    return Recipe.model_validate(
        recipe | {"runtime": {"micro_batch_size": 1} | runtime} | rest
    ).resolve()


@pytest.fixture(scope="module")
def measured() -> dict[str, int]:
    """Bytes of each case, all from one command."""
    first = config_of(DENSE, {}, {"block_size": 32}, {})
    configs = [config.model_dump(mode="json") for config in [first, *map(planned_for, CASES)]]
    # Large tensors go back to the system as they are freed; no arena keeps them.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**18), "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.workloads.cost.resident"],
        cwd=ROOT,
        env=environment | {"CUDA_VISIBLE_DEVICES": ""},
        input=json.dumps(configs),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


def planned_for(case: str) -> RunConfig:
    return config_of(*CASES[case])


def test_the_plan_knows_what_the_kernels_do_on_cpus() -> None:
    assert memory.LOGIT_BYTES["cpu"] == cross_entropy.CHUNK_BYTES["cpu"]
    assert layer_memory.LEAST_WIDE == feed_forward.LEAST_WIDE


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_within_a_tenth_of_the_process(case: str, measured: dict[str, int]) -> None:
    peak = memory.peak_memory(planned_for(case), device="cpu")
    assert peak.device_bytes + peak.host_bytes == pytest.approx(measured[case], rel=0.1)
