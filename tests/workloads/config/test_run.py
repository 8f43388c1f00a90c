"""What a run's configuration refuses, and the identity that its fingerprint hashes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from tests.workloads.small_runs import pico
from workloads.config.fingerprint import VERSION_1_FIELDS, fingerprint, flatten, identity
from workloads.config.model import FFNConfig, GuideConfig, ModelConfig
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.data.config import DataConfig
from workloads.optim.adamw import AdamWConfig
from workloads.schema.base import Config

ROOT = Path(__file__).parents[3]
SHAPE: dict[str, Any] = {
    "vocab_size": 257,
    "block_size": 64,
    "num_layers": 2,
    "hidden_dim": 36,
    "ffn_dim": 90,
    "num_heads": 3,
}
RUN = RunConfig(
    model=ModelConfig(**SHAPE, ffn=FFNConfig(kind="blockdense", rank=12, nblocks=3)),
    data=DataConfig(),
    optimizer=AdamWConfig(learning_rate=3e-3),
    batch_size=8,
    steps=10,
    seed=1,
    eval_tokens=640,
)

LEARNED = {"operator": "learn", "factor": 2, "at": {"fraction": 0.25}, "learn_steps": 2}


# Shapes


@pytest.mark.parametrize(
    ("kind", "sizes", "message"),
    [
        ("dense", {"rank": 3}, "rank does not apply to kind dense; remove it"),
        ("dense", {"nblocks": 3}, "nblocks does not apply to kind dense; remove it"),
        ("lowrank", {}, "kind lowrank needs rank; add it"),
        ("lowrank", {"rank": 3, "nblocks": 3}, "nblocks does not apply to kind lowrank; remove it"),
        ("blockdense", {"rank": 3}, "kind blockdense needs nblocks; add it"),
        ("blockdense", {"nblocks": 3}, "kind blockdense needs rank; add it"),
        ("blockshuffle", {}, "kind blockshuffle needs nblocks; add it"),
        ("blockshuffle", {"rank": 3, "nblocks": 3}, "rank does not apply to kind blockshuffle"),
        ("lowrank", {"rank": 0}, "greater than 0"),
        ("blockshuffle", {"nblocks": 0}, "greater than 0"),
    ],
)
def test_each_kind_takes_its_own_sizes(kind: str, sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FFNConfig(kind=kind, **sizes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 5}, "attn_dim 36 over num_heads 5 must give an even head dimension"),
        ({"num_heads": 4}, "attn_dim 36 over num_heads 4 must give an even head dimension"),
        (
            {"ffn": FFNConfig(kind="lowrank", rank=37)},
            "rank 37 exceeds the projection's smaller side; use 36 or less",
        ),
        (
            {"ffn": FFNConfig(kind="blockshuffle", nblocks=5)},
            "5 does not divide hidden_dim 36; the nearest that divides hidden_dim, ffn_dim is 6",
        ),
        (
            {"ffn": FFNConfig(kind="blockshuffle", nblocks=4)},
            "nblocks 4 does not divide ffn_dim 90; the nearest that does is 3",
        ),
        (
            {"ffn": FFNConfig(kind="blockdense", rank=10, nblocks=3)},
            "nblocks 3 does not divide rank 10; the nearest that does is 2",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_nearest(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**(SHAPE | change))


def test_the_suggested_shapes_are_accepted() -> None:
    for ffn in (
        FFNConfig(kind="lowrank", rank=36),
        FFNConfig(kind="blockshuffle", nblocks=3),
        FFNConfig(kind="blockdense", rank=10, nblocks=2),
    ):
        assert ModelConfig(**SHAPE, ffn=ffn).ffn == ffn


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_the_validation_share_lies_between_0_and_1(fraction: float) -> None:
    with pytest.raises(ValidationError):
        DataConfig(val_fraction=fraction)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_rates_that_mean_nothing_are_refused(rate: float) -> None:
    with pytest.raises(ValidationError):
        AdamWConfig(learning_rate=rate)


def test_configurations_are_frozen_and_know_their_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RUN.steps = 11  # type: ignore[misc]  # what is tested
    with pytest.raises(ValidationError, match="Extra inputs"):
        RuntimeConfig.model_validate({"log_intervall": 3})


def test_a_run_survives_json() -> None:
    assert RunConfig.model_validate_json(RUN.model_dump_json()) == RUN


# Identity


def test_the_fingerprint_of_a_fixed_run_never_changes() -> None:
    # Changing this number orphans every finished run: only with a change of what a run computes.
    assert fingerprint(identity(RUN, "0123456789abcdef")) == "500db11d28ed0f4c"


def test_the_identity_is_everything_but_runtime_and_later_defaults() -> None:
    others = RUN.optimizer.unused_fields | {"schedule", "kind"}
    everything = flatten(
        RUN.model_dump(
            mode="json",
            exclude={"runtime": True, "eval_sets": True, "clock": True, "optimizer": others},
        )
    )
    assert flatten(identity(RUN, "abc")) == everything | {"data.fingerprint": "abc"}


class Later(Config):
    """A part of a configuration that a later version adds, itself with a field added later."""

    operator: str
    factor: int = 2


class LaterModel(ModelConfig):
    later: Later | None = None
    doubled_dim: int = Field(default_factory=lambda fields: 2 * fields["hidden_dim"])


class LaterData(DataConfig):
    dialect: str = "plain"


class LaterRun(RunConfig):
    data: LaterData  # type: ignore[assignment]  # as above
    model: LaterModel  # type: ignore[assignment]  # what a later version of the class would be
    later_rate: float = 0.5


def later(model: dict[str, Any] | None = None, **fields: Any) -> RunConfig:
    tree = RUN.model_dump()
    return LaterRun.model_validate(tree | {"model": tree["model"] | (model or {})} | fields)


def test_fields_added_later_change_no_fingerprint_until_they_are_used() -> None:
    assert identity(later(), "abc") == identity(RUN, "abc")
    used = [
        later(later_rate=0.25),
        later(model={"doubled_dim": 12}),
        later(model={"later": {"operator": "stack"}}),
        later(model={"later": {"operator": "stack", "factor": 3}}),
        later(data={"dialect": "other"}),
    ]
    prints = {fingerprint(identity(config, "abc")) for config in [RUN, *used]}
    assert len(prints) == 1 + len(used)
    tree = identity(used[2], "abc")
    assert tree["model"]["later"] == {"operator": "stack"}
    # What was recorded before is read with the new fields' defaults.
    del tree["model"]["later"], tree["data"]["fingerprint"]
    assert LaterRun.model_validate_json(json.dumps(tree)).model.later is None


def test_version_1_names_only_fields_that_there_are() -> None:
    wsd = AdamWConfig(learning_rate=1e-3, schedule="wsd", warmup_steps=1)
    guided = RUN.model.model_copy(update={"guide": GuideConfig(ratio=0.5)})
    tree = RUN.model_copy(update={"model": guided, "optimizer": wsd}).model_dump()
    leaves = flatten(tree)
    assert all(
        any(f"{leaf}.".startswith(f"{name}.") for leaf in leaves) for name in VERSION_1_FIELDS
    )


def test_every_leaf_of_the_identity_changes_the_fingerprint() -> None:
    leaves = flatten(identity(RUN, "abc"))
    assert len(leaves) > 20
    prints = [fingerprint(leaves)]
    for name, value in leaves.items():
        other = not value if isinstance(value, bool) else [value, "other"]
        prints.append(fingerprint(leaves | {name: other}))
        prints.append(fingerprint({key: leaf for key, leaf in leaves.items() if key != name}))
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize(
    ("changes", "offload", "remedy"),
    [
        ({"optimizer": {"kind": "muon"}}, "optimizer", "set offload: none"),
        ({"optimizer": {"kind": "muon"}}, "all", "set offload: none"),
        ({"grow": LEARNED}, "all", "set offload: optimizer"),
    ],
)
def test_what_cannot_be_offloaded_is_refused(
    changes: dict[str, Any], offload: str, remedy: str
) -> None:
    runtime = {"offload": offload, "parallel": "fsdp"}
    with pytest.raises(ValidationError, match=remedy):
        pico(**changes, runtime=runtime)
    assert pico(**changes, runtime=runtime | {"offload": "none"})


def test_runtime_does_not_change_the_fingerprint() -> None:
    runtime = RuntimeConfig(
        micro_batch_size=3,
        log_interval=7,
        eval_interval=9,
        checkpoint_interval=11,
        parallel="fsdp",
        compile=True,
        activation_checkpointing=2,
        recompute="ffn",
        ffn_tile_tokens=13,
        parameters="bf16",
        offload="all",
        fit="auto",
    )
    # It excludes `recompute: ffn`, and counts by itself.
    inputs = RuntimeConfig(activation_checkpointing=1, layer_inputs="cpu")
    elsewhere = RUN.model_copy(update={"runtime": inputs})
    assert fingerprint(identity(elsewhere, "abc")) == fingerprint(identity(RUN, "abc"))
    changed = runtime.model_dump(exclude={"layer_inputs"}).items()
    assert all(value != getattr(RUN.runtime, name) for name, value in changed)
    other = RUN.model_copy(update={"runtime": runtime})
    assert identity(other, "abc") == identity(RUN, "abc")


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    tree = identity(RUN, "abc")
    assert fingerprint(dict(reversed(tree.items()))) == fingerprint(tree)


def test_the_fingerprint_refuses_what_json_cannot_hold() -> None:
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            fingerprint({"value": value})


@pytest.mark.parametrize(
    ("batch_size", "micro_batch_size", "workers", "micro_batch"),
    [
        (16, 16, 1, 16),
        (16, 5, 1, None),
        (16, 32, 1, 16),  # a batch below the limit is read at once
        (24, 16, 1, None),
        (24, 16, 2, 12),  # each worker's share is below the limit
        (16, 4, 3, None),
        (2, 1, 4, None),
    ],
)
def test_a_batch_is_shared_in_whole_micro_batches_or_not_at_all(
    batch_size: int, micro_batch_size: int, workers: int, micro_batch: int | None
) -> None:
    runtime = RuntimeConfig(micro_batch_size=micro_batch_size)
    run = RUN.model_copy(update={"batch_size": batch_size, "runtime": runtime})
    assert run.micro_batch(workers) == micro_batch


@pytest.mark.parametrize(
    ("every", "layers"), [(0, []), (1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (9, [0])]
)
def test_every_so_many_layers_are_recomputed(every: int, layers: list[int]) -> None:
    assert [*RuntimeConfig(activation_checkpointing=every).recomputed_layers(5)] == layers


def test_planning_imports_no_torch() -> None:
    code = "import sys, workloads.recipes.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
