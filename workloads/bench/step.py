"""What the kernels' fast paths are worth in training: a whole step with them, and without any.

A step is one batch of the preset on random tokens: loss, gradients, clipping and optimizer. The
candidate and the baseline are the same model at the same weights. In the baseline the operations
run as their references define them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels import switches
from kernels.bench.claims import Claim, StepTask
from kernels.bench.comparison import Comparison
from kernels.bench.ffn import INPUT_SETS, Layer
from kernels.timing import Contender
from workloads.config.ffn_kinds import FFN_KINDS
from workloads.config.run import RunConfig
from workloads.cost.flops import train_flops_per_token
from workloads.nn.self_guided import add_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.optim.build import build_optimizer
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Recipe
from workloads.recipes.variant import FFNChoice, GuideChoice


def compare(claim: Claim, device: torch.device) -> Comparison:
    """Build both contenders of a claim about a training step."""
    assert isinstance(claim.task, StepTask)
    config = _recipe(claim.task).resolve()
    tokens = config.tokens_per_step
    flops = train_flops_per_token(config.model)
    batches = _batches(config, device)
    step = _step(config, batches, device)

    def baseline(number: int) -> None:
        with switches.reference():
            step(number)

    candidate = _step(config, batches, device)
    return Comparison(candidate, baseline, flops * tokens)


def training_step(config: RunConfig, device: torch.device) -> Contender:
    """Return the optimizer step of a run, on random tokens."""
    return _step(config, _batches(config, device), device)


def _recipe(task: StepTask) -> Recipe:
    # Every guide runs in every step, so that all steps do the same work.
    guide = GuideChoice(ratio=1.0, reduce_flops=False) if task.guided else None
    return Recipe(preset=task.preset, ffn=_ffn(task), guide=guide)


def _ffn(task: StepTask) -> FFNChoice:
    """Choose sizes whose fraction of the dense weights is the nearest to the task's."""
    row = FFN_KINDS[task.kind]
    blocks = Layer(task.kind, PRESETS[task.preset].model.hidden_dim, task.fraction).blocks
    return FFNChoice(
        kind=task.kind,
        fraction=task.fraction if row.fraction_size else None,
        nblocks=blocks if "nblocks" in row.sizes else None,
    )


def _batches(config: RunConfig, device: torch.device) -> list[Tensor]:
    """Draw batches of token ids, each (batch, time + 1)."""
    size = config.batch_size, config.model.block_size + 1
    vocabulary = config.model.vocab_size
    return [torch.randint(vocabulary, size, device=device) for _ in range(INPUT_SETS)]


def _step(config: RunConfig, batches: list[Tensor], device: torch.device) -> Contender:
    """Build a model, and return its optimizer step, in the middle of guided steps if it has any."""
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
