"""The coordinate check: how large each layer's outputs are in models of several widths, after the
first steps of training.

Under a rule that transfers, the sizes of outputs and of their changes do not depend on the width,
so that lines over the width are flat (Yang et al. 2022, arXiv 2203.03466, appendix D.1). Each width
trains on the same batches at the peak rate without a warm-up, and is measured on one further batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from workloads.config.run import RunConfig
from workloads.data.dataset import OpenText
from workloads.data.loader import BatchLoader
from workloads.nn.drawn_labels import label_draws
from workloads.nn.transformer import Block, Transformer
from workloads.optim.build import build_optimizer
from workloads.optim.update import use_gradients
from workloads.training import phases

LOGITS = "logits"


@dataclass(frozen=True)
class Coordinates:
    """Root mean squares of outputs, over entries, batch and seeds.

    `sizes[layer][k][i]` is that of the i-th width after k steps. `losses[i]` is the training loss
    in the last step, in nats per token.
    """

    widths: tuple[int, ...]
    sizes: dict[str, list[list[float]]]
    losses: list[float]

    def spread(self, layer: str, step: int) -> float:
        """Return the largest over the smallest size of a layer's outputs after so many steps.

        Of the logits it is the largest over that of the smallest width: under muP they start
        smaller in wider models, because their random part falls as 1/sqrt(width), and must not
        grow.
        """
        sizes = self.sizes[layer][step]
        return max(sizes) / (sizes[0] if layer == LOGITS else min(sizes))

    @property
    def steps(self) -> int:
        """The number of steps that were taken."""
        return len(next(iter(self.sizes.values()))) - 1

    @property
    def worst(self) -> tuple[str, float]:
        """The layer of the largest spread after the last step, and that spread."""
        spreads = {layer: self.spread(layer, self.steps) for layer in self.sizes}
        layer = max(spreads, key=lambda each: spreads[each])
        return layer, spreads[layer]


def measure(
    runs: Sequence[RunConfig],
    text: OpenText,
    steps: int,
    seeds: int,
    show: Callable[[str], None] = lambda line: None,
) -> Coordinates:
    """Train each run, which differ in width, for some steps with each of the first seeds.

    `show` is told about each width that is done.
    """
    found: list[list[dict[str, float]]] = []
    losses: list[float] = []
    for run in runs:
        trained = [_trained(run, text, steps, seed) for seed in range(seeds)]
        squares = [[each.squares[k] for each in trained] for k in range(steps + 1)]
        found.append([_root_mean(at_step) for at_step in squares])
        losses.append(sum(each.loss for each in trained) / seeds)
        show(f"width {run.model.hidden_dim}: loss {losses[-1]:.4f} in step {steps}")
    widths = tuple(run.model.hidden_dim for run in runs)
    sizes = {
        layer: [[own[k][layer] for own in found] for k in range(steps + 1)] for layer in found[0][0]
    }
    return Coordinates(widths, sizes, losses)


@dataclass(frozen=True)
class _Trained:
    """Mean squares of each layer's outputs after each number of steps, and the last loss."""

    squares: list[dict[str, float]]
    loss: float


def _trained(run: RunConfig, text: OpenText, steps: int, seed: int) -> _Trained:
    phase = run.phases[0]
    torch.manual_seed(seed)
    model = phases.build_model(phase)
    optimizer = build_optimizer(model, run.optimizer, run.tokens_per_step)
    split = text.split("train")
    loader = BatchLoader(split, run.model.block_size, run.batch_size, seed)
    probe, loss = loader.batch(steps)[0], 0.0
    squares = [_squares(model, probe)]
    for step in range(steps):
        phases.prepare(model, run, phase, step)
        inputs, targets = loader.batch(step)
        _before_step(run, optimizer, model, inputs, step)
        value = model(inputs, targets)
        value.backward()
        loss = float(value.detach())
        use_gradients(model, optimizer.step, run.optimizer.max_grad_norm, loss)
        squares.append(_squares(model, probe))
    return _Trained(squares, loss)


def _before_step(
    run: RunConfig, optimizer: torch.optim.Optimizer, model: Transformer, inputs: Tensor, step: int
) -> None:
    """Have the optimizer prepare its step, as a run does."""

    def with_sampled(use: Callable[[], object]) -> None:
        draws = label_draws(run.seed, step, run.batch_size, run.model.block_size)
        loss = model(inputs, draws)
        loss.backward()
        use_gradients(model, use, run.optimizer.max_grad_norm, float(loss.detach()))

    run.optimizer.before_step(optimizer, step, with_sampled)


@torch.no_grad()
def _squares(model: Transformer, inputs: Tensor) -> dict[str, float]:
    """Return the mean square of the outputs of each layer."""
    found: dict[str, float] = {}
    model.eval()
    with _watched(model, found):
        found[LOGITS] = _mean_square(model(inputs))
    model.train()
    return found


@contextmanager
def _watched(model: Transformer, found: dict[str, float]) -> Iterator[None]:
    """Keep the mean squares of what attention, FFN and residual stream of each layer give."""

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            found[name] = _mean_square(output)

        return hook

    handles = []
    for index, layer in enumerate(model.layers):
        block = cast(Block, layer)
        parts = {"attention": block.attention, "FFN": block.mlp, "residual stream": block}
        handles += [
            module.register_forward_hook(keep(f"layer {index} {name}"))
            for name, module in parts.items()
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mean_square(output: Tensor) -> float:
    return float(output.double().square().mean())


def _root_mean(squares: list[dict[str, float]]) -> dict[str, float]:
    """Return the root of the mean over seeds."""
    return {
        name: (sum(each[name] for each in squares) / len(squares)) ** 0.5 for name in squares[0]
    }
