"""Model sizes with their training recipes.

A preset fixes the shape, tokens, learning rate and batch, and may bring its optimizer. The
transformer-* rows are the paper's (arXiv 2406.16450, table of models; 20 tokens a parameter). pico
to mini are ours, for CPUs: byte vocabulary, short blocks; their tokens are chosen for minutes, not
for compute-optimality. noam-wide is the model and recipe that a public hackathon found best for
three hours on one A100 (LauzHack 2024, on epfml/llm-baselines).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import PositiveFloat, PositiveInt

from workloads.config.model import ModelConfig
from workloads.optim.adamw import AdamWOptions
from workloads.schema.base import Config
from workloads.schema.known_names import OneOf


class Preset(Config):
    """A dense model's shape and recipe; `batch_size` is in sequences, `tokens` in tokens.

    What `optimizer` does not write out is the optimizer's own default.
    """

    model: ModelConfig
    tokens: PositiveInt
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    micro_batch_size: PositiveInt
    eval_tokens: PositiveInt
    optimizer: AdamWOptions = AdamWOptions()


def _cpu(layers: int, hidden: int, heads: int, tokens: float, lr: float) -> Preset:
    model = ModelConfig(
        vocab_size=257,
        block_size=128,
        num_layers=layers,
        hidden_dim=hidden,
        ffn_dim=4 * hidden,
        num_heads=heads,
    )
    return Preset(
        model=model,
        tokens=int(tokens),
        learning_rate=lr,
        batch_size=16,
        micro_batch_size=16,
        eval_tokens=65_536,
    )


def _paper(layers: int, hidden: int, heads: int, tokens: float, lr: float) -> Preset:
    model = ModelConfig(
        vocab_size=32_000,
        block_size=1024,
        num_layers=layers,
        hidden_dim=hidden,
        ffn_dim=4 * hidden,
        num_heads=heads,
    )
    return Preset(
        model=model,
        tokens=int(tokens),
        learning_rate=lr,
        batch_size=512,
        micro_batch_size=16,
        eval_tokens=512_000 * 1024,
    )


# 10,000 steps of 131,072 tokens were scheduled, and about 8,780 fitted into the three hours.
NOAM_WIDE = Preset(
    model=ModelConfig(
        vocab_size=50_304,
        block_size=512,
        num_layers=10,
        hidden_dim=1024,
        ffn_dim=2816,
        num_heads=16,
        norm="rmsnorm",
        activation="swiglu",
        bias=False,
    ),
    tokens=10_000 * 256 * 512,
    learning_rate=1.25e-3,
    batch_size=256,
    micro_batch_size=64,
    eval_tokens=1024 * 512,
    optimizer=AdamWOptions(
        betas=(0.9, 0.95),
        weight_decay=0.1,
        decay="hidden_matrices",
        schedule="onecycle",
        warmup_fraction=0.05,
        initial_learning_rate_ratio=0.01,
        min_learning_rate_ratio=0.1,
    ),
)

PRESETS: dict[str, Preset] = {
    "pico": _cpu(layers=2, hidden=32, heads=2, tokens=409_600, lr=6.0e-3),
    "nano": _cpu(layers=3, hidden=64, heads=4, tokens=614_400, lr=4.0e-3),
    "micro": _cpu(layers=4, hidden=96, heads=4, tokens=819_200, lr=3.0e-3),
    "mini": _cpu(layers=4, hidden=160, heads=5, tokens=1_024_000, lr=2.0e-3),
    "transformer-s": _paper(layers=12, hidden=768, heads=12, tokens=2.2e9, lr=6.0e-4),
    "transformer-m": _paper(layers=24, hidden=1024, heads=16, tokens=6.7e9, lr=3.0e-4),
    "transformer-l": _paper(layers=24, hidden=1536, heads=12, tokens=14.58e9, lr=2.5e-4),
    "transformer-xl": _paper(layers=24, hidden=2048, heads=16, tokens=25.5e9, lr=2.0e-4),
    "noam-wide": NOAM_WIDE,
}

PresetName = Annotated[str, OneOf(PRESETS, "preset")]
