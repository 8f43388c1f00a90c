"""One run, fully resolved: everything that determines its result, and how it executes.

`RunConfig` is what the trainer takes. `identity` is the part of it that changes the result; its
hash, the fingerprint, is how a finished run is recognised. Nothing here imports torch, so that
planning works on any laptop.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

FFNKind = Literal["dense", "lowrank", "blockdense", "blockshuffle"]


class Config(BaseModel):
    """Base of every configuration model: immutable, unknown keys and infinities are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FFNConfig(Config):
    """The parametrization of the two FFN projections (paper: arXiv 2406.16450, section 3).

    lowrank takes `rank`; blockshuffle takes `nblocks`; blockdense takes both; dense takes neither.
    """

    kind: FFNKind = "dense"
    rank: PositiveInt | None = None
    nblocks: PositiveInt | None = None
    keep_first_dense: bool = True

    @model_validator(mode="after")
    def _takes_what_its_kind_takes(self) -> Self:
        for name, kinds in (
            ("rank", ("lowrank", "blockdense")),
            ("nblocks", ("blockdense", "blockshuffle")),
        ):
            given = getattr(self, name) is not None
            if given and self.kind not in kinds:
                raise ValueError(f"{name} does not apply to kind {self.kind}; remove it")
            if not given and self.kind in kinds:
                raise ValueError(f"kind {self.kind} needs {name}; add it")
        return self


class ModelConfig(Config):
    """A pre-norm decoder-only transformer: RoPE, LayerNorm, GELU, biases, tied embeddings."""

    vocab_size: PositiveInt
    block_size: PositiveInt
    num_layers: PositiveInt
    hidden_dim: PositiveInt
    ffn_dim: PositiveInt
    num_heads: PositiveInt
    rope_base: PositiveFloat = 10_000.0
    ffn: FFNConfig = FFNConfig()

    @property
    def head_dim(self) -> int:
        return self.hidden_dim // self.num_heads

    @model_validator(mode="after")
    def _shapes_divide(self) -> Self:
        if self.hidden_dim % self.num_heads or self.head_dim % 2:
            raise ValueError(
                f"hidden_dim {self.hidden_dim} over num_heads {self.num_heads} must give an even "
                "head dimension; change one of the two"
            )
        self._check_rank()
        self._check_blocks()
        return self

    def _check_rank(self) -> None:
        limit = min(self.hidden_dim, self.ffn_dim)
        if self.ffn.rank is not None and self.ffn.rank > limit:
            raise ValueError(
                f"rank {self.ffn.rank} exceeds the projection's smaller side; use {limit} or less"
            )

    def _check_blocks(self) -> None:
        nblocks = self.ffn.nblocks
        if nblocks is None:
            return
        sides = {"hidden_dim": self.hidden_dim, "ffn_dim": self.ffn_dim}
        if self.ffn.kind == "blockdense" and self.ffn.rank is not None:
            sides["rank"] = self.ffn.rank
        for name, size in sides.items():
            if size % nblocks:
                divisors = [n for n in range(1, size + 1) if size % n == 0]
                nearest = min(divisors, key=lambda n: abs(n - nblocks))
                raise ValueError(
                    f"nblocks {nblocks} does not divide {name} {size}; the nearest that does is "
                    f"{nearest}"
                )


class DataConfig(Config):
    """Which text, how it becomes tokens, and the share of documents kept for validation."""

    source: Literal["python-stdlib"] = "python-stdlib"
    tokenizer: Literal["byte"] = "byte"
    val_fraction: float = 0.05

    @model_validator(mode="after")
    def _split_is_a_split(self) -> Self:
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction {self.val_fraction} must lie between 0 and 1; try 0.05")
        return self


class OptimizerConfig(Config):
    """AdamW with linear warm-up and cosine decay; the defaults are the paper's."""

    learning_rate: PositiveFloat
    min_learning_rate_ratio: float = 0.1
    warmup_fraction: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    max_grad_norm: PositiveFloat = 1.0


class RuntimeConfig(Config):
    """How a run executes; nothing here changes its result beyond floating-point rounding.

    `micro_batch_size` is in sequences and per worker; the intervals are in optimizer steps.
    """

    micro_batch_size: PositiveInt = 16
    log_interval: PositiveInt = 10
    eval_interval: PositiveInt = 100
    checkpoint_interval: PositiveInt = 100


class RunConfig(Config):
    """One training run. `batch_size` is in sequences per optimizer step, over all workers."""

    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    batch_size: PositiveInt
    steps: PositiveInt
    seed: NonNegativeInt
    eval_tokens: PositiveInt
    runtime: RuntimeConfig = RuntimeConfig()

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.model.block_size

    @property
    def tokens(self) -> int:
        """Tokens trained on, exactly: whole steps of `tokens_per_step`."""
        return self.steps * self.tokens_per_step

    @model_validator(mode="after")
    def _evaluates_something(self) -> Self:
        if self.eval_tokens < self.model.block_size:
            raise ValueError(
                f"eval_tokens {self.eval_tokens} is less than one sequence of "
                f"{self.model.block_size} tokens; raise it"
            )
        return self


def identity(config: RunConfig, data_fingerprint: str) -> dict[str, Any]:
    """All that changes the run's result, as a JSON-ready tree; nothing that does not."""
    tree = config.model_dump(mode="json", exclude={"runtime"})
    tree["data"]["fingerprint"] = data_fingerprint
    return tree


def fingerprint(run_identity: dict[str, Any]) -> str:
    """16 hex digits of the SHA-256 of `identity(...)` in canonical JSON."""
    canonical = json.dumps(run_identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level with dotted names, leaves unchanged."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
