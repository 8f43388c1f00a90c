"""Model sizes with their training recipes.

A preset fixes the shape, tokens, learning rate and batch, and may bring its optimizer. The
transformer-* rows are the paper's (arXiv 2406.16450, table of models; 20 tokens a parameter). pico
to mini are ours, for CPUs: byte vocabulary, short blocks; their tokens are chosen for minutes, not
for compute-optimality.

The llama-* rows have the shapes of the published Llama 3.2 1B and Llama 3.1 8B, and llama-nano is
their twin for CPUs. Two things differ from the published models: the 1B has a head of its own,
which is tied there (`model: {tie_embeddings: true}` ties it), and sequences are of the 8,192 tokens
that Llama 3 was trained on before its context was stretched to 131,072 (`block_size`). The 8B's
rate is the published one (arXiv 2407.21783, table 3). The rate of the 1B, the 4M tokens of a step
and the 20 tokens a parameter are ours.

noam-wide is the model and recipe that a public hackathon found best for three hours on one A100
(LauzHack 2024, on epfml/llm-baselines).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PositiveFloat, PositiveInt

from workloads.config.model import ModelConfig, RopeScaling
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


# What the Llama 3 family has and the paper's models have not.
LLAMA_3: dict[str, Any] = {
    "norm": "rmsnorm",
    "activation": "swiglu",
    "bias": False,
    "tie_embeddings": False,
    "rope_base": 500_000.0,
}


def _cpu(layers: int, hidden: int, heads: int, tokens: float, lr: float, **options: Any) -> Preset:
    model = ModelConfig(
        vocab_size=257,
        block_size=128,
        num_layers=layers,
        hidden_dim=hidden,
        ffn_dim=4 * hidden,
        num_heads=heads,
        **options,
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


def _llama(
    layers: int, hidden: int, inner: int, stretched: float, tokens: float, lr: float
) -> Preset:
    model = ModelConfig(
        vocab_size=128_256,
        block_size=8192,
        num_layers=layers,
        hidden_dim=hidden,
        ffn_dim=inner,
        num_heads=32,
        num_kv_heads=8,
        rope_scaling=RopeScaling(factor=stretched),
        **LLAMA_3,
    )
    return Preset(
        model=model,
        tokens=int(tokens),
        learning_rate=lr,
        batch_size=512,
        micro_batch_size=1,
        eval_tokens=1024 * 8192,
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
    "llama-nano": _cpu(
        layers=3,
        hidden=64,
        heads=4,
        tokens=614_400,
        lr=4.0e-3,
        num_kv_heads=2,
        rope_scaling=RopeScaling(factor=8, original_block_size=64),
        **LLAMA_3,
    ),
    "llama-1b": _llama(16, hidden=2048, inner=8192, stretched=32, tokens=30e9, lr=3.0e-4),
    "llama-8b": _llama(32, hidden=4096, inner=14_336, stretched=8, tokens=160e9, lr=3.0e-4),
    "noam-wide": NOAM_WIDE,
}

PresetName = Annotated[str, OneOf(PRESETS, "preset")]
