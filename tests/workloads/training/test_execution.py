"""How a run executes without changing its numbers: recomputed activations, compiled layers."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.workloads.small_runs import pico, rows_of
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.nn.self_guided import add_guides, set_guides
from workloads.nn.transformer import Block, Transformer
from workloads.run_dir.metrics_log import Row
from workloads.training import parallel
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


def loss_and_gradients(model: nn.Module, network: nn.Module, tokens: Tensor) -> list[Tensor]:
    torch.manual_seed(5)
    loss = network(tokens, tokens.roll(-1, 1))
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


def saved_bytes(model: nn.Module, network: nn.Module, tokens: Tensor) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(tokens, tokens.roll(-1, 1))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_activations_give_the_same_gradients_in_less_memory(
    dropout: float, guided: bool
) -> None:
    guide = {"guide": {"ratio": 0.5}} if guided else {}
    run = pico(model={"num_layers": 4, "dropout": dropout}, **guide)
    tokens = torch.randint(257, (2, 128))
    results, memory = [], []
    for every in (0, 2, 1):
        torch.manual_seed(0)
        model = Transformer(run.model).double()
        if run.model.guide is not None:
            add_guides(model, run.model.guide)
            set_guides(model, run.phases[0].steps // 2, run)
        runtime = run.runtime.model_copy(update={"activation_checkpointing": every})
        config = run.model_copy(update={"runtime": runtime})
        network = parallel.parallelize(model, config, torch.device("cpu"))
        if guided:  # Those that did not draw their guide have no gradient for it.
            for name, parameter in model.named_parameters():
                owner = model.get_submodule(name.rpartition(".")[0])
                if name.endswith("guide") and not owner.guide_runs:
                    parameter.requires_grad_(False)
        trained = nn.ParameterList([p for p in model.parameters() if p.requires_grad])
        results.append(loss_and_gradients(trained, network, tokens))
        memory.append(saved_bytes(model, network, tokens))
    for result in results[1:]:
        for found, expected in zip(result, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    assert memory[2] < memory[1] < memory[0]
    # Each layer that is recomputed keeps little more than its input.
    assert memory[0] - memory[1] == pytest.approx(memory[1] - memory[2], rel=0.15)
    assert memory[2] < 0.4 * memory[0]


def test_a_run_that_recomputes_is_the_same_run(stdlib: TokenDataset, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "budget": {"steps": 6},
        "guide": {"ratio": 0.5},
        "model": {"dropout": 0.1},
    }
    for every in (0, 1):
        runtime = {"activation_checkpointing": every}
        train(pico(runtime=runtime, **changes), stdlib, tmp_path / str(every))
    assert_close_rows(rows_of(tmp_path / "1"), rows_of(tmp_path / "0"), rel=1e-6)


def assert_close_rows(found: list[Row], expected: list[Row], rel: float) -> None:
    assert len(found) == len(expected) > 0
    for row, wanted in zip(found, expected, strict=True):
        assert row.keys() == wanted.keys()
        for key, value in wanted.items():
            assert row[key] == pytest.approx(value, rel=rel), key


def compiled_and_eager(
    config: RunConfig, dataset: TokenDataset, directory: Path
) -> tuple[list[Row], list[Row]]:
    rows = []
    for compiled in (True, False):
        runtime = config.runtime.model_copy(update={"compile": compiled})
        torch._dynamo.reset()
        # Beyond its limit of variants torch would silently go on without compiling.
        strict = torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
        with strict if compiled else nullcontext():
            train(
                config.model_copy(update={"runtime": runtime}), dataset, directory / str(compiled)
            )
        rows.append(rows_of(directory / str(compiled)))
    torch._dynamo.reset()
    return rows[0], rows[1]


def test_a_guided_run_compiles_every_variant_it_meets(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws make four variants of a layer, and evaluation and the end of guidance make more."""
    calls: list[Block] = []

    def traced_alone(self: Block) -> None:
        calls.append(self)
        nn.Module.compile(self, backend="eager")

    monkeypatch.setattr(Block, "compile", traced_alone)
    config = pico(
        model={"num_layers": 3},
        learning_rate=1e-3,  # At the preset's, 20 steps make much of roundings that differ.
        budget={"steps": 20},
        guide={"ratio": 0.5},
        runtime={"eval_interval": 5},
    )
    compiled, eager = compiled_and_eager(config, stdlib, tmp_path)
    assert len(calls) == 6  # All layers, and once more without the guides.
    assert_close_rows(compiled, eager, rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")),
    reason="torch.compile on a CPU needs a C++ compiler, and there is none",
)
@pytest.mark.parametrize("guided", [False, True])
def test_a_compiled_run_is_the_eager_one(
    stdlib: TokenDataset, tmp_path: Path, guided: bool
) -> None:
    guide = {"guide": {"ratio": 0.5}} if guided else {}
    config = pico(learning_rate=1e-3, budget={"steps": 6}, runtime={"eval_interval": 3}, **guide)
    compiled, eager = compiled_and_eager(config, stdlib, tmp_path)
    assert_close_rows(compiled, eager, rel=1e-4)
    assert compiled[0]["train_loss"] == pytest.approx(eager[0]["train_loss"], rel=1e-6)
    # Compiled code really ran: its rounding is another.
    assert compiled != eager
