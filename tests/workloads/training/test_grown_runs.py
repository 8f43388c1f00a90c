"""Runs whose model grows: what they cost, what the optimizer keeps, and resuming around growth."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.workloads.small_runs import assert_same_run, kill_after, pico, rows_of, start
from workloads.config.rates import learning_rate_at
from workloads.config.run import RunConfig
from workloads.cost.flops import phase_step_flops, step_flops, train_flops, train_flops_at
from workloads.cost.learned_growth import learned_growth
from workloads.cost.memory import peak_memory_bytes
from workloads.data.dataset import TokenDataset
from workloads.run_dir.metrics_log import Row
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")
START = 6
TOKENS = 8 * 128
# Of a step of the preset's batch, by which `at` counts in `pico`.
PRESET_TOKENS = 16 * 128


def grown_run(*growths: dict[str, Any], **changes: Any) -> RunConfig:
    """Twelve steps, of which the first six train the base."""
    listed = [{"at": {"tokens": START * PRESET_TOKENS}} | growth for growth in growths]
    runtime = {"eval_interval": 3, "checkpoint_interval": 4}
    recipe = {"budget": {"steps": 12}, "runtime": runtime, "batch_size": 8}
    return pico(**recipe | {"grow": listed} | changes)


STACK = {"operator": "stack", "factor": 2}
SPLIT = {"operator": "split", "width": 64}
LEARN_STEPS = 3


def checkpoints(config: RunConfig, dataset: TokenDataset, run_dir: Path) -> dict[int, Any]:
    """The checkpoint before growth and that of growth itself, by step."""
    saved: dict[int, dict[str, Tensor]] = {}

    def look(row: Row) -> None:
        for path in (run_dir / "checkpoints").glob("*.safetensors"):
            saved[int(path.stem.removeprefix("step-"))] = load_file(path)

    train(config, dataset, run_dir, look)
    return saved


def state_of(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    found = [name for name in tensors if name.startswith("optimizer.") and name.endswith(key)]
    return {n.removeprefix("optimizer.").removesuffix(f".{key}"): tensors[n] for n in found}


@pytest.mark.parametrize(
    "growth",
    [
        STACK,
        SPLIT | {"optimizer_state": "carry", "schedule": "continue"},
        {"operator": "zero", "layers": 3, "width": 64},
        {"operator": "random", "layers": 3, "width": 64, "mask_steps": 2},
        STACK | {"data": "restart"},
    ],
    ids=lambda growth: f"{growth['operator']}{growth.get('data', '')}",
)
def test_a_grown_run_is_one_curve_and_one_account(
    growth: dict[str, Any], stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = grown_run(growth)
    base, grown = (phase.model for phase in config.phases)
    assert base == pico(budget={"steps": 12}).model
    result = train(config, stdlib, tmp_path)
    tokens = TOKENS * (START if growth.get("data") else 12)
    assert (result.status, result.step, result.tokens) == ("finished", 12, tokens)
    small, large = (step_flops(model, config.optimizer, TOKENS) for model in (base, grown))
    assert large > 1.4 * small
    planned = START * small + (12 - START) * large
    assert result.train_flops == result.executed_flops == train_flops(config) == planned
    rows = rows_of(tmp_path)
    assert [row["train_flops"] for row in rows][:7] == [n * small for n in range(1, 7)] + [
        START * small + large
    ]
    layers = [sum("layer_grad_norm" in name for name in row) for row in rows]
    assert layers == [2] * START + [grown.num_layers] * (12 - START)
    tensors = load_file(max((tmp_path / "checkpoints").glob("*.safetensors")))
    weights = {name for name in tensors if name.startswith("model.")}
    assert {f"model.{name}" for name in state_of(tensors, "exp_avg")} == weights
    assert all(value.abs().max() > 0 for value in state_of(tensors, "exp_avg").values())


def test_the_function_is_preserved_in_the_run(stdlib: TokenDataset, tmp_path: Path) -> None:
    """The first loss after growth is that of the base, which goes on, at the same step."""
    plain = pico(budget={"steps": 12}, batch_size=8)
    losses = {}
    for name, config in (
        ("base", plain),
        ("zero", grown_run({"operator": "zero", "layers": 4, "width": 64})),
        ("split", grown_run(SPLIT)),
        ("random", grown_run({"operator": "random", "layers": 3, "width": 64})),
        ("stack", grown_run(STACK)),
    ):
        train(config, stdlib, tmp_path / name)
        losses[name] = [row["train_loss"] for row in rows_of(tmp_path / name)]
        assert losses[name][:START] == losses["base"][:START]
    for name in ("zero", "split", "random"):
        assert losses[name][START] == pytest.approx(losses["base"][START], rel=1e-5)
    assert abs(losses["stack"][START] - losses["base"][START]) > 1e-3


def test_optimizer_state_is_kept_as_the_policy_says(stdlib: TokenDataset, tmp_path: Path) -> None:
    saved = {
        (policy, growth["operator"]): checkpoints(
            grown_run(growth | {"optimizer_state": policy}),
            stdlib,
            tmp_path / f"{policy}-{growth['operator']}",
        )
        for policy in ("reset", "carry", "asymmetric")
        for growth in (STACK, SPLIT)
    }
    # The base's state at the growth: `carry` under `split` holds it in the first copies.
    for growth in ("stack", "split"):
        assert not any("optimizer." in name for name in saved["reset", growth][START])
    carried, asymmetric = (saved[p, "stack"][START] for p in ("carry", "asymmetric"))
    averages = state_of(carried, "exp_avg")
    # The first layer is the dense one; copies of the second follow.
    for name, value in state_of(asymmetric, "exp_avg").items():
        assert torch.equal(value, averages[name])
    own = {name for name in averages if not name.startswith(("layers.2", "layers.3"))}
    assert {*state_of(asymmetric, "exp_avg")} == own
    for at in (2, 3):
        for name in [name for name in averages if name.startswith(f"layers.{at}.")]:
            source = name.replace(f"layers.{at}.", "layers.1.")
            assert torch.equal(averages[name], averages[source])
    assert all(float(step) == START for step in state_of(carried, "step").values())

    carried, asymmetric = (saved[p, "split"][START] for p in ("carry", "asymmetric"))
    wide, first = (state_of(t, "exp_avg_sq")["wte.weight"] for t in (carried, asymmetric))
    assert torch.equal(wide[:, :32], wide[:, 32:]) and wide.abs().max() > 0
    assert torch.equal(first[:, :32], wide[:, :32]) and not first[:, 32:].any()
    matrix = "layers.0.attention.qkv_linear.weight"
    wide, first = (state_of(t, "exp_avg")[matrix] for t in (carried, asymmetric))
    assert torch.equal(wide[:32, :32], wide[32:64, 32:])
    assert torch.equal(first[:32, :32], wide[:32, :32])
    assert not first[:32, 32:].any() and not first[32:64].any()


def test_the_rate_restarts_or_goes_on(stdlib: TokenDataset) -> None:
    def rates(**policy: Any) -> list[float]:
        config = grown_run(STACK | policy)
        before, after = config.phases
        return [
            learning_rate_at(config, before if step < START else after, step) for step in range(12)
        ]

    def cosine(step: int, steps: int, peak: float = 6e-3) -> float:
        warmup = int(0.1 * steps)
        if step < warmup:
            return peak * (step + 1) / warmup
        progress = (step - warmup) / (steps - warmup)
        return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2)

    alone = [cosine(step, 12) for step in range(12)]
    again = [cosine(step, 6) for step in range(6)]
    assert rates() == pytest.approx(alone[:START] + again)
    assert rates(schedule="continue") == pytest.approx(alone)
    rising = [rate * min(1, (n + 1) / 3) for n, rate in enumerate(alone[START:])]
    assert rates(schedule="continue", rewarmup_steps=3) == pytest.approx(alone[:START] + rising)
    slow = [cosine(step, 12, 1e-3) for step in range(START)]
    assert rates(base_learning_rate=1e-3) == pytest.approx(slow + again)


def test_two_growths_in_a_row(stdlib: TokenDataset, tmp_path: Path) -> None:
    first, second = STACK | {"at": {"tokens": 4 * PRESET_TOKENS}}, SPLIT | {"at": {"fraction": 0.7}}
    config = grown_run(first, second)
    assert [(p.start, p.steps, p.model.num_layers, p.model.hidden_dim) for p in config.phases] == [
        (0, 4, 2, 32),
        (4, 4, 4, 32),
        (8, 4, 4, 64),
    ]
    assert config == RunConfig.model_validate_json(config.model_dump_json())
    assert train(config, stdlib, tmp_path).executed_flops == train_flops(config)
    assert peak_memory_bytes(config) == max(
        peak_memory_bytes(config.model_copy(update={"model": p.model, "steps": 1}))
        for p in [config.phases[-1]]
    )


# Every operator, in depth or width or both.
GROWTHS: dict[str, dict[str, Any]] = {
    "stack": STACK | {"optimizer_state": "carry", "data": "restart"},
    "split": SPLIT,
    "zero": {"operator": "zero", "layers": 3, "width": 64, "optimizer_state": "asymmetric"},
    "random": {"operator": "random", "layers": 3, "width": 64, "mask_steps": 3},
    "learn": {"operator": "learn", "factor": 2, "width": 64, "learn_steps": LEARN_STEPS},
}


@pytest.fixture(scope="module")
def whole_runs(stdlib: TokenDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directory of a run of each operator that nothing killed."""
    found: dict[str, Path] = {}
    for name, growth in GROWTHS.items():
        found[name] = tmp_path_factory.mktemp(name)
        train(grown_run(growth), stdlib, found[name])
    return found


@pytest.mark.parametrize(
    ("operator", "step", "resumed"),
    [(name, START + after, START) for name in GROWTHS for after in (0, 1)]
    + [("stack", START - 1, 4), ("learn", START - 1, 4)]
    # Within the phase of matrices, at its end and right after it.
    + [("learn", START + 2, 8), ("learn", START + LEARN_STEPS, 9), ("learn", START + 4, 9)],
)
def test_a_run_killed_around_growth_ends_with_the_same_bits(
    operator: str,
    step: int,
    resumed: int,
    stdlib: TokenDataset,
    whole_runs: dict[str, Path],
    tmp_path: Path,
) -> None:
    config = grown_run(GROWTHS[operator])

    class Stop(Exception):
        """Stands for a kill."""

    calls = 0

    def stop_at(self: Any, index: int, *rest: Any, **named: Any) -> Row:
        nonlocal calls
        if index == step:
            raise Stop
        calls += 1
        return original(self, index, *rest, **named)

    from workloads.training import trainer

    original = trainer._Trainer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer._Trainer, "step", stop_at)
        with pytest.raises(Stop):
            train(config, stdlib, tmp_path / "killed")
    assert calls == step
    assert train(config, stdlib, tmp_path / "killed").resumed_step == resumed
    assert_same_run(whole_runs[operator], tmp_path / "killed")


def test_a_learned_growth_is_a_phase_on_the_bill(
    stdlib: TokenDataset, whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    config = grown_run(GROWTHS["learn"])
    rows, result = (
        rows_of(whole_runs["learn"]),
        json.loads((whole_runs["learn"] / "result.json").read_text()),
    )
    small, learning, large = (
        phase_step_flops(phase, config.optimizer, TOKENS) for phase in config.phases
    )
    assert small < large < learning
    planned = START * small + LEARN_STEPS * learning + (6 - LEARN_STEPS) * large
    assert result["train_flops"] == result["executed_flops"] == train_flops(config) == planned
    assert result["hardware_flops"] == planned
    spent = [row["train_flops"] for row in rows]
    assert spent[START] - spent[START - 1] == learning
    assert [row["tokens"] for row in rows] == [TOKENS * step for step in range(1, 13)]
    assert [row["learning_rate"] for row in rows[START : START + LEARN_STEPS]] == [6e-3] * 3
    assert [sum("layer_grad" in name for name in row) for row in rows] == [2] * 6 + [4] * 6


def test_the_learned_model_goes_on_from_its_matrices(
    stdlib: TokenDataset, whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    """One step more of learning sees the same loss before it as the multiplied-out model does, and
    its checkpoints hold the matrices, with a base that nothing moves."""
    longer = grown_run(
        GROWTHS["learn"] | {"learn_steps": LEARN_STEPS + 1},
        runtime={"checkpoint_interval": 1, "eval_interval": 1},
    )
    saved = checkpoints(longer, stdlib, tmp_path)
    first = START + LEARN_STEPS
    losses = [row["train_loss"] for row in rows_of(whole_runs["learn"])]
    ours = [row["train_loss"] for row in rows_of(tmp_path)]
    assert ours[:first] == losses[:first]
    assert ours[first] == pytest.approx(losses[first], rel=1e-6)
    assert ours[first + 1] != pytest.approx(losses[first + 1], rel=1e-6)

    start, last, prefix = saved[START], saved[first], "model.matrices."
    base = {n.replace("model.", "model.base.", 1).replace(".", "-"): n for n in saved[START - 1]}
    assert not any(name.startswith(prefix) for name in saved[START - 1])
    frozen = [name for name in start if name.startswith("model.base.")]
    assert {name.replace(".", "-") for name in frozen} < base.keys()
    assert all(torch.equal(start[name], last[name]) for name in frozen)
    trained = [name for name in start if name.startswith(prefix)]
    assert not any(torch.equal(start[name], last[name]) for name in trained)
    assert {f"model.{name}" for name in state_of(last, "exp_avg")} == {*trained}
    growth = longer.model.growth
    assert growth and len(trained) == 5 + 12 + 4
    numbers = sum(last[name].numel() for name in trained)
    assert learned_growth(growth).parameters == numbers
    assert not any(name.startswith(prefix) for name in saved[first + 1])


def test_a_killed_process_resumes_to_the_same_bits(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = grown_run(STACK)
    whole = train(config, stdlib, tmp_path / "whole")
    kill_after(config, stdlib, tmp_path / "killed", START + 1)
    assert train(config, stdlib, tmp_path / "killed").val_loss == whole.val_loss
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_masks_go_on_where_a_run_is_resumed(stdlib: TokenDataset, tmp_path: Path) -> None:
    growth = {"operator": "random", "layers": 3, "width": 64, "mask_steps": 3}
    config = grown_run(growth, runtime={"checkpoint_interval": 1, "eval_interval": 4})
    whole = train(config, stdlib, tmp_path / "whole")
    kill_after(config, stdlib, tmp_path / "killed", START + 2)
    assert train(config, stdlib, tmp_path / "killed").val_loss == whole.val_loss


def test_flops_of_the_first_steps_are_those_of_the_base() -> None:
    config = grown_run(STACK)
    alone = pico(budget={"steps": 12}, batch_size=8)
    assert train_flops_at(config, START) == train_flops_at(alone, START)
    assert "growth" in json.loads(config.model_dump_json())["model"]
    assert "growth" not in json.loads(alone.model_dump_json())["model"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "growth"),
    [
        ("ddp", {"operator": "random", "layers": 3, "width": 64, "mask_steps": 2}),
        ("fsdp", STACK | {"optimizer_state": "carry"}),
        ("ddp", {"operator": "learn", "factor": 2, "width": 64, "learn_steps": 3}),
        ("fsdp", {"operator": "learn", "factor": 2, "width": 64, "learn_steps": 3}),
    ],
    ids=["ddp", "fsdp", "ddp-learn", "fsdp-learn"],
)
def test_two_workers_grow_as_one_does(
    parallel: str, growth: dict[str, Any], stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = grown_run(growth, runtime={"eval_interval": 3, "micro_batch_size": 4})
    alone = train(config, stdlib, tmp_path / "alone")
    runtime = config.runtime.model_copy(update={"parallel": parallel})
    both = config.model_copy(update={"runtime": runtime})
    workers = [start(both, stdlib, tmp_path / "both", rank, 2) for rank in range(2)]
    losses = [float(worker.communicate(timeout=120)[0]) for worker in workers]
    assert losses[0] == losses[1] == pytest.approx(alone.val_loss, rel=1e-4)
