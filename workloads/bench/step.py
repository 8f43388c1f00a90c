"""What the kernels' fast paths are worth in training: a whole step with them, and without any.

A step is one batch of the preset on random tokens: loss, gradients, clipping and optimizer. Both
sides are the same model at the same weights; in one of them the operations run as defined, with
torch's default products. Attention alone is torch's own fused one in both, as anybody would have
it: against its definition the rest would gain too easily.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels import switches
from kernels.bench.claims import Claim, StepTask
from kernels.bench.comparison import Comparison as Pair
from kernels.bench.comparison import with_library as by_library
from kernels.bench.ffn import INPUT_SETS
from kernels.timing import Contender as Side
from workloads.config.run import RunConfig
from workloads.cost.flops import train_flops_per_token
from workloads.nn.self_guided import add_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.optim.build import build_optimizer
from workloads.recipes.recipe import Recipe
from workloads.recipes.variant import FFNChoice, GuideChoice

DEFINED = tuple(name for name in switches.OPERATIONS if name != "attention")


def pair(claim: Claim, device: torch.device, onednn: bool) -> Pair:
    """A training step by the fast paths, and as all operations are defined."""
    assert isinstance(claim.task, StepTask)
    config = _recipe(claim.task).resolve()
    tokens = config.tokens_per_step
    flops = train_flops_per_token(config.model)
    batches = _batches(config, device)
    defined = _step(config, batches, device)

    def reference(number: int) -> None:
        with switches.reference(*DEFINED):
            defined(number)

    fast = _step(config, batches, device)
    return Pair(by_library(fast, onednn), by_library(reference, False), flops * tokens)


def _recipe(task: StepTask) -> Recipe:
    fraction = None if task.kind == "dense" else task.fraction
    # Every guide in every step: what is drawn otherwise would be another step each time.
    guide = GuideChoice(ratio=1.0, reduce_flops=False) if task.guided else None
    ffn = FFNChoice(kind=task.kind, fraction=fraction)
    return Recipe(preset=task.preset, ffn=ffn, guide=guide)


def _batches(config: RunConfig, device: torch.device) -> list[Tensor]:
    """Token ids (batch, time + 1)."""
    size = config.batch_size, config.model.block_size + 1
    vocabulary = config.model.vocab_size
    return [torch.randint(vocabulary, size, device=device) for _ in range(INPUT_SETS)]


def _step(config: RunConfig, batches: list[Tensor], device: torch.device) -> Side:
    """One optimizer step of a model of its own, in the middle of its guided steps if it has any."""
    torch.manual_seed(config.seed)
    model = Transformer(config.model)
    if config.model.guide:
        add_guides(model, config.model.guide)
    model.to(device)
    optimizer = build_optimizer(model, config.optimizer)
    middle = config.total_steps // 2

    def step(number: int) -> None:
        tokens = batches[number % INPUT_SETS]
        set_guides(model, middle, config)
        model(tokens[:, :-1], tokens[:, 1:]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
