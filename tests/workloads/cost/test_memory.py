"""The memory model against real training steps: what autograd keeps, and all tensors alive.

Steps run on the CPU in bf16 autocast, which takes the path of CUDA; those of large models on fake
tensors, which have shapes and storages and no contents.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels import bias_activation, cross_entropy
from workloads.config.run import RunConfig
from workloads.cost import memory
from workloads.cost.accelerators import ACCELERATORS
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import MergedGuides, add_guides
from workloads.nn.transformer import Transformer
from workloads.optim import update
from workloads.optim.build import build_optimizer
from workloads.optim.kinds import OPTIMIZERS
from workloads.optim.update import use_gradients
from workloads.recipes.recipe import Recipe
from workloads.training.learning import MultipliedOut
from workloads.training.parallel import parallelize
from workloads.training.phases import trained_in

KINDS: dict[str, dict[str, Any]] = {
    "dense": {"kind": "dense"},
    "lowrank": {"kind": "lowrank", "fraction": 0.3125},
    "blockdense": {"kind": "blockdense", "rank": 64, "nblocks": 2},
    "blockshuffle": {"kind": "blockshuffle", "nblocks": 4},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "swiglu": {"activation": "swiglu"},
    "grouped": {"num_kv_heads": 1},
    "absolute": {"position": "absolute"},
    "untied": {"tie_embeddings": False},
    "narrow attention": {"attn_dim": 80},
    "wide": {"hidden_dim": 320, "attn_dim": 320, "ffn_dim": 1280},
}
TOLERANCE = 0.06


def run_config(
    preset: str,
    kind: str = "dense",
    every: int = 0,
    guided: bool = False,
    optimizer: str = "adamw",
    **model: Any,
) -> RunConfig:
    """One micro-batch of 16 sequences at a time, two a step."""
    recipe = {"preset": preset, "ffn": KINDS[kind], "model": model}
    recipe |= {"runtime": {"micro_batch_size": 16, "activation_checkpointing": every}}
    recipe |= {"guide": {"ratio": 0.5}} if guided else {}
    recipe |= {"optimizer": {"kind": optimizer}}
    return Recipe.model_validate(recipe).resolve().model_copy(update={"batch_size": 32})


@pytest.fixture(autouse=True)
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The activation keeps its input alone. The loss has chunks of CUDA's size, whose rows one
    kernel turns into gradients in place; its products add to the weight's gradient without a tensor
    between."""

    def rows(logits: Tensor, *_: Any) -> Tensor:
        return logits.new_zeros(len(logits), dtype=torch.float32)

    monkeypatch.setattr(bias_activation, "_pays", lambda z: True)
    monkeypatch.setattr(cross_entropy, "_is_one_chunk_on_cpu", lambda *_: False)
    monkeypatch.setattr(cross_entropy, "_rows_of", lambda _: rows)
    monkeypatch.setattr(cross_entropy, "_add_product", lambda total, a, b: None)
    monkeypatch.setitem(cross_entropy.CHUNK_BYTES, "cpu", cross_entropy.CHUNK_BYTES["cuda"])
    monkeypatch.setattr(update, "number", lambda norm: 1.0)  # Fake tensors have no numbers.


def test_the_plan_knows_the_size_of_the_losses_chunks() -> None:
    assert cross_entropy.CHUNK_BYTES["cuda"] == memory.LOGIT_BYTES["cuda"]


class Living(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if not isinstance(leaf, Tensor) or leaf.is_meta:
                continue
            if leaf.untyped_storage() not in self._known:
                storage = leaf.untyped_storage()
                self._known.add(storage)
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def _add(self, count: int) -> None:
        self.now += count


@dataclass
class Measured:
    """Bytes: kept from the forward for the backward pass, at the step's widest, after steps."""

    saved: int
    peak: int
    states: int


def measure(config: RunConfig, micro_batches: int = 2, draws: bool = False) -> Measured:
    """The second optimizer step of a real model, as `workloads.training.trainer` computes it; with
    `draws` on labels that the model draws."""
    with living() as memory_:
        model = Transformer(config.model)
        if config.model.guide:
            add_guides(model, config.model.guide)
        parallelize(model, config, torch.device("cpu"))
        offloads = config.runtime.offload == "optimizer"
        optimizer = build_optimizer(model, config.optimizer, config.tokens_per_step, offloads)
        rows = min(config.batch_size, config.runtime.micro_batch_size)
        tokens = torch.zeros(rows, config.model.block_size, dtype=torch.long)
        casts = config.runtime.parameters == "fp32"
        for count in (1, micro_batches):
            memory_.peak = saved = 0
            guides = MergedGuides(model)
            guides.begin(torch.autocast("cpu", torch.bfloat16, enabled=casts))
            for number in range(count):
                if number == count - 1:
                    guides.before_last()
                before = memory_.now
                with torch.autocast("cpu", torch.bfloat16, enabled=casts):
                    loss = model(tokens, torch.rand(tokens.shape) if draws else tokens)
                saved = memory_.now - before
                loss.backward()
                del loss
            guides.end()
            use_gradients(model, optimizer.step, 1.0)
        return Measured(saved, memory_.peak, memory_.now)


@contextmanager
def living() -> Iterator[Living]:
    with FakeTensorMode(), Living() as mode:
        yield mode


@pytest.mark.parametrize(
    ("kind", "every", "guided"),
    [
        *((kind, every, False) for kind in KINDS for every in (0, 1)),
        *((kind, 0, True) for kind in KINDS if kind != "dense"),
        ("dense", 2, False),
        ("lowrank", 2, True),
    ],
)
def test_peak_and_saved_bytes_are_those_of_a_real_step(kind: str, every: int, guided: bool) -> None:
    check(run_config("mini", kind, every, guided))


@pytest.mark.parametrize("option", OPTIONS)
def test_options_count(option: str) -> None:
    check(run_config("mini", **OPTIONS[option]))


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "adamw"])
def test_optimizers_count(optimizer: str) -> None:
    """One step's own tensors, and the labels that Sophia-G draws, fit where activations were."""
    draws = optimizer == "sophia_g"
    check(run_config("mini", "blockdense", optimizer=optimizer), draws=draws)
    check(run_config("transformer-s", optimizer=optimizer), tolerance=0.01, draws=draws)


@pytest.mark.parametrize(("kind", "every"), [("dense", 0), ("lowrank", 1)])
def test_paper_sizes(kind: str, every: int) -> None:
    check(run_config("transformer-s", kind, every), tolerance=0.01)


def test_merged_guides_are_there_once_and_their_gradients_with_accumulation() -> None:
    # So wide, with so little text, that a step's matrices are most of its memory.
    sizes: dict[str, Any] = {"hidden_dim": 512, "attn_dim": 512, "ffn_dim": 2048, "num_heads": 8}
    config = run_config("mini", "lowrank", guided=True, **sizes, block_size=8)
    for micro_batches in (1, 2):
        config = config.model_copy(update={"batch_size": 16 * micro_batches})
        measured = measure(config, micro_batches)
        assert memory.peak_memory_bytes(config) == pytest.approx(measured.peak, rel=TOLERANCE)


def test_without_accumulation_gradients_come_as_activations_go() -> None:
    # A model so wide, and a text so short, that the end of the backward pass is the widest moment.
    sizes: dict[str, Any] = {"hidden_dim": 512, "attn_dim": 512, "ffn_dim": 2048, "num_heads": 8}
    config = run_config("mini", **sizes, block_size=8).model_copy(update={"batch_size": 16})
    measured = measure(config, micro_batches=1)
    assert memory.peak_memory_bytes(config) == pytest.approx(measured.peak, rel=TOLERANCE)
    assert measured.peak > 1.25 * measured.states


def test_saved_bytes_are_what_autograd_packs() -> None:
    # Independent of the dispatcher: real tensors, through autograd's own hooks.
    config = run_config("nano", "lowrank")
    model = Transformer(config.model)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.zeros(16, config.model.block_size, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        loss = model(tokens, tokens)
    planned = memory.saved_bytes(config.model, config.runtime, tokens.numel())
    assert planned == pytest.approx(sum(kept.values()), rel=TOLERANCE)
    del loss


# At long contexts, on a model of the paper's width: what runtime changes, and the model beside it.
LLAMA: dict[str, Any] = {"activation": "swiglu", "bias": False, "num_kv_heads": 4}
TILED = {"ffn_tile_tokens": 1024}
INPUTS = {"activation_checkpointing": 1, "layer_inputs": "cpu"}
SWITCHED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ffn recomputed": ("dense", {"activation_checkpointing": 1, "recompute": "ffn"}, {}),
    "inputs on the cpu": ("lowrank", INPUTS, {}),
    "tiles": ("dense", TILED, LLAMA),
    "tiles, ffn recomputed": ("blockdense", TILED | {"activation_checkpointing": 1}, {}),
    "tiles, inputs on the cpu": ("blockshuffle", TILED | INPUTS, LLAMA),
    "states on the cpu": ("dense", {"offload": "optimizer"}, LLAMA),
    "bf16": ("lowrank", {"parameters": "bf16"}, LLAMA),
    "bf16, tiles": ("dense", {"parameters": "bf16", "activation_checkpointing": 1} | TILED, {}),
    "bf16, states": ("dense", {"parameters": "bf16", "offload": "optimizer"} | INPUTS, {}),
}


@pytest.mark.parametrize("switch", SWITCHED)
def test_switches_count(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device and host together, because here they are one memory; torch pins what is copied to the
    host of CUDA devices in powers of two, and fetches ahead, which it does not here."""
    monkeypatch.setattr(memory, "_pinned", lambda size, device: size)
    monkeypatch.setitem(memory.INPUTS_AT_WORK, "cuda", 0)
    memory._peak.cache_clear()
    kind, runtime, model = SWITCHED[switch]
    tokens = 8192 if "block" not in kind else 4096
    recipe = {"preset": "transformer-s", "ffn": KINDS[kind], "batch_size": 1}
    recipe |= {"model": model | {"num_layers": 3, "block_size": tokens}, "budget": {"steps": 2}}
    recipe |= {"eval_tokens": 10**5, "runtime": runtime | {"micro_batch_size": 1}}
    config = Recipe.model_validate(recipe).resolve()
    measured, planned = measure(config, micro_batches=1), memory.peak_memory(config)
    memory._peak.cache_clear()
    inputs = planned.host.get("layer inputs", 0)
    saved = memory.saved_bytes(config.model, config.runtime, tokens) + inputs
    assert saved == pytest.approx(measured.saved, rel=TOLERANCE)
    # Masters get their gradients on the host when the device has no activations any more.
    whole = planned.device_bytes + planned.host_bytes - planned.host.get("workspace", 0)
    assert whole == pytest.approx(measured.peak, rel=0.08)


def test_states_are_weights_guides_and_two_moments() -> None:
    config = run_config("nano", "blockdense", guided=True)
    model = Transformer(config.model)
    assert config.model.guide
    add_guides(model, config.model.guide)
    guides = [m.guide for m in model.modules() if isinstance(m, Projection)]
    assert sum(guide is not None for guide in guides) == 4
    states = 3 * 4 * sum(p.numel() for p in model.parameters())
    assert measure(config).states == pytest.approx(states, rel=0.02)


def test_ddp_adds_buckets_and_fsdp_shares() -> None:
    config = run_config("transformer-xl")
    params = 4 * 1_274_138_624
    config = config.model_copy(update={"batch_size": 512})
    alone, ddp = (memory.peak_memory_bytes(config, gpus) for gpus in (1, 2))
    assert ddp - alone == params
    sharded = config.model_copy(
        update={"runtime": config.runtime.model_copy(update={"parallel": "fsdp"})}
    )
    saved = memory.saved_bytes(config.model, config.runtime, 16 * 1024)
    # The widest moment is the last layer's backward pass: five layers' weights come and go.
    moving, passing = 4 * 5 * 12 * 2048**2, 2 * 4 * 2048 * 16 * 1024
    at_last_layer = saved - 2 * 2048 * 16 * 1024 + moving + passing
    for gpus in (2, 16):
        rest = memory.peak_memory_bytes(sharded, gpus) - at_last_layer
        assert (
            4 * params / gpus < rest < 4 * params / gpus + 4 * (32_000 * 2048 + 2 * 1024 * 128) + 1
        )


def test_fewest_gpus_fall_with_fsdp_and_recomputation() -> None:
    config = run_config("transformer-xl", num_layers=48, hidden_dim=4096, attn_dim=4096)
    config = config.model_copy(update={"batch_size": 512})
    a100, h200 = (ACCELERATORS[name].memory_bytes for name in ("a100-80g", "h200"))

    def least(capacity: float, **runtime: Any) -> int | None:
        changed = config.runtime.model_copy(update=runtime)
        return memory.least_gpus(config.model_copy(update={"runtime": changed}), capacity)

    assert least(a100) is None  # the states alone are more, and each GPU has them all
    sharded = least(a100, parallel="fsdp", activation_checkpointing=1)
    assert sharded is not None and 1 < sharded <= 16
    larger = least(h200, parallel="fsdp", activation_checkpointing=1)
    assert larger is not None and larger < sharded


@pytest.mark.parametrize(
    "grow",
    [
        {"operator": "learn", "base": {"factor": 2}, "learn_steps": 2},
        {"operator": "learn", "base": {"width": 64}, "learn_steps": 2},
        {"operator": "learn", "base": {"layers": 2, "width": 64}, "learn_steps": 2},
    ],
    ids=["depth", "width", "both"],
)
@pytest.mark.parametrize(
    ("kind", "tokens", "runtime"),
    [
        ("dense", 128, {}),
        ("lowrank", 128, {}),
        ("dense", 4, {}),
        ("dense", 128, {"parameters": "bf16"}),
        ("dense", 4, {"parameters": "bf16"}),
        ("dense", 128, {"offload": "optimizer"}),
    ],
)
def test_the_phase_that_learns_a_growth(
    kind: str, tokens: int, runtime: dict[str, Any], grow: dict[str, Any]
) -> None:
    """The plan is that of the widest phase; that of the matrices is planned for itself. Host and
    device are one memory here."""
    recipe = {"preset": "mini", "ffn": KINDS[kind], "budget": {"steps": 20}}
    recipe |= {"model": {"block_size": tokens, "num_layers": 8}}
    recipe |= {"grow": grow | {"at": {"fraction": 0.5}}}
    recipe |= {"runtime": runtime | {"micro_batch_size": 16}}
    config = Recipe.model_validate(recipe).resolve().model_copy(update={"batch_size": 32})
    phase = config.phases[1]
    with living() as memory_:
        model = Transformer(phase.model)
        parallelize(model, config, torch.device("cpu"))
        trained = trained_in(phase, model, seed=0)
        offloads = config.runtime.offload == "optimizer"
        optimizer = build_optimizer(trained, config.optimizer, on_cpu=offloads)
        casts = config.runtime.parameters == "fp32"
        ids = torch.zeros(16, tokens, dtype=torch.long)
        for _ in range(2):
            memory_.peak = 0
            weights = MultipliedOut(model, trained)
            weights.begin()
            for _ in range(2):
                with torch.autocast("cpu", torch.bfloat16, enabled=casts):
                    loss = model(ids, ids)
                loss.backward()
                del loss
            weights.end()
            use_gradients(trained, optimizer.step, 1.0)
            model.zero_grad(set_to_none=True)
        measured = memory_.peak
    peak = memory.phase_memory(config, phase)
    # Masters get their gradients on the host when the device has no activations any more.
    planned = peak.device_bytes + peak.host_bytes - peak.host.get("workspace", 0)
    assert planned == pytest.approx(measured, rel=TOLERANCE)
    assert memory.peak_memory_bytes(config) == max(
        memory.phase_memory(config, each).device_bytes for each in config.phases
    )


def check(config: RunConfig, tolerance: float = TOLERANCE, draws: bool = False) -> None:
    measured = measure(config, draws=draws)
    tokens = 16 * config.model.block_size
    saved = memory.saved_bytes(config.model, config.runtime, tokens)
    assert saved == pytest.approx(measured.saved, rel=tolerance)
    assert memory.peak_memory_bytes(config) == pytest.approx(measured.peak, rel=tolerance)
