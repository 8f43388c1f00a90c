"""Merged guides in training: one merge a step for all micro-batches, and the same runs."""

import copy
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kernels import switches
from tests.workloads.guided import projections
from tests.workloads.small_runs import pico, rows_of
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.nn.self_guided import MergedGuides, add_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.run_dir.metrics_log import Row
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")

STRUCTURES = [
    {"kind": "lowrank", "rank": 5},
    {"kind": "blockdense", "rank": 8, "nblocks": 4},
    {"kind": "blockshuffle", "nblocks": 4},
]
over_kinds = pytest.mark.parametrize("ffn", STRUCTURES, ids=lambda ffn: ffn["kind"])
MICRO_BATCHES = 3


def config_of(ffn: dict[str, object], reduce_flops: bool = False) -> RunConfig:
    return pico(
        model={"num_layers": 3}, ffn=ffn, guide={"ratio": 0.5, "reduce_flops": reduce_flops}
    )


def model_of(config: RunConfig, step: int, dtype: torch.dtype = torch.float64) -> Transformer:
    """Guided, with guides apart from the weights, as they are after `step` steps."""
    torch.manual_seed(1)
    model = Transformer(config.model)
    assert config.model.guide is not None
    add_guides(model, config.model.guide)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    set_guides(model, step, config)
    return model.to(dtype)


def tokens() -> Tensor:
    return torch.randint(257, (2 * MICRO_BATCHES, 128), generator=torch.Generator().manual_seed(2))


def accumulate(model: Transformer, precision: AbstractContextManager[object]) -> None:
    """Backward over micro-batches, as a step of the trainer."""
    batches = tokens().chunk(MICRO_BATCHES)
    guides = MergedGuides(model)
    guides.begin(precision)
    for number, batch in enumerate(batches, start=1):
        if number == MICRO_BATCHES:
            guides.before_last()
        with precision:
            loss = model(batch, batch.roll(-1, 1)) / MICRO_BATCHES
        loss.backward()
    guides.end()


def gradients(model: Transformer) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def in_one_batch(config: RunConfig, step: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """By the definition of guidance."""
    model = model_of(config, step, dtype)
    with switches.reference("self_guided"):
        model(tokens(), tokens().roll(-1, 1)).backward()
    return gradients(model)


@pytest.mark.parametrize(
    ("ffn", "compiled", "recompute"),
    [
        *((ffn, False, False) for ffn in STRUCTURES),
        (STRUCTURES[0], True, False),
        (STRUCTURES[1], False, True),
        (STRUCTURES[2], True, True),
    ],
    ids=lambda case: case["kind"] if isinstance(case, dict) else str(case),
)
def test_micro_batches_give_the_gradients_of_one_batch(
    ffn: dict[str, object], compiled: bool, recompute: bool
) -> None:
    """With every guide, and with those that a step draws."""
    torch._dynamo.reset()
    for reduce_flops, step in ((False, 10), (True, 9), (True, 11)):
        config = config_of(ffn, reduce_flops)
        model = model_of(config, step)
        for layer in model.layers:
            layer.recompute = "layer" if recompute else "nothing"  # type: ignore[assignment]  # a Block
            if compiled:
                layer.compile(backend="aot_eager", fullgraph=not recompute)
        accumulate(model, nullcontext())
        found, expected = gradients(model), in_one_batch(config, step, torch.float64)
        assert found.keys() == expected.keys()
        drawn = [m.guide_runs for m in projections(model) if m.guide is not None]
        assert all(drawn) != reduce_flops
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-15, msg=name)


@over_kinds
def test_gradients_accumulate_in_fp32_under_autocast(ffn: dict[str, object]) -> None:
    config = config_of(ffn)
    expected = in_one_batch(config, 10, torch.float64)
    worst: list[float] = []
    for merged in (True, False):
        model = model_of(config, 10, torch.float32)
        with nullcontext() if merged else switches.reference("self_guided"):
            accumulate(model, torch.autocast("cpu", torch.bfloat16))
        found = gradients(model)
        assert all(gradient.dtype == torch.float32 for gradient in found.values())
        errors = {
            name: float((found[name] - gradient).norm() / gradient.norm())
            for name, gradient in expected.items()
            if name.split(".")[-1] in ("guide", "u", "v")
        }
        worst.append(max(errors.values()))
    assert worst[0] <= 1.2 * worst[1] < 0.1  # bfloat16 rounds both, in other places.


@over_kinds
def test_one_merge_serves_a_step(ffn: dict[str, object]) -> None:
    """More micro-batches cost more tokens' products, but no more of the weights' size."""
    config = config_of(ffn)

    def count(passes: int) -> int:
        model = model_of(config, 10)
        batch = tokens()[:2]
        guides = MergedGuides(model)
        with FlopCounterMode(display=False) as counter:
            guides.begin(nullcontext())
            for number in range(passes):
                if number == passes - 1:
                    guides.before_last()
                model(batch, batch).backward()
            guides.end()
        return counter.get_total_flops()

    counts = [count(passes) for passes in (1, 2, 3)]
    assert counts[2] - counts[1] == counts[1] - counts[0] < counts[0]
    # A pass that merges for itself pays for it: 3 products of the weights' size a projection.
    model, batch = model_of(config, 10), tokens()[:2]
    with FlopCounterMode(display=False) as counter:
        model(batch, batch).backward()
    assert counter.get_total_flops() == counts[0]


def test_nothing_is_shared_beyond_the_step() -> None:
    config = config_of(STRUCTURES[0])
    model = model_of(config, 10, torch.float32)
    guides = MergedGuides(model)
    guides.begin(nullcontext())
    shared = [module.shared_merge is not None for module in projections(model)]
    assert shared == [False, False, True, True, True, True]  # The first layer is dense.
    copied = copy.deepcopy(model)
    assert all(module.shared_merge is None for module in projections(copied))
    with torch.no_grad():
        kept = model(tokens())
        for module in projections(model):
            if module.guide is not None:
                module.guide.mul_(2)
        assert torch.equal(model(tokens()), kept)
        guides.end()
        assert not torch.allclose(model(tokens()), kept)
    with switches.reference("self_guided"):
        guides.begin(nullcontext())
        assert all(module.shared_merge is None for module in projections(model))


@over_kinds
def test_thirty_steps_agree_with_the_definition(
    stdlib: TokenDataset, tmp_path: Path, ffn: dict[str, object]
) -> None:
    def losses(name: str, **changes: object) -> list[Row]:
        config = pico(
            ffn=ffn,
            budget={"steps": 30},
            guide={"ratio": 0.8, "reduce_flops": False, "mode": "fixed_steps"},
            learning_rate=1e-3,
            runtime={"eval_interval": 10, **changes},
        )
        train(config, stdlib, tmp_path / name)
        return rows_of(tmp_path / name)

    merged = losses("merged"), losses("accumulated", micro_batch_size=2)
    with switches.reference("self_guided"):
        defined = losses("defined")
    assert len(defined) == 30
    for run in merged:
        for row, want in zip(run, defined, strict=True):
            for key in ("train_loss", "val_loss"):
                assert row.get(key) == pytest.approx(want.get(key), abs=1e-4), (row["step"], key)
    assert merged[0] != defined, "their rounding differs, where both paths ran"
