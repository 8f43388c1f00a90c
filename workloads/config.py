"""One run, fully resolved: everything that determines its result, and how it executes.

`RunConfig` is what the trainer takes. `identity` is the part of it that changes the result; its
hash, the fingerprint, is how a finished run is recognised. Nothing here imports torch, so that
planning works on any laptop.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from workloads.parametrizations import PARAMETRIZATIONS, FFNKind


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
        for name in ("rank", "nblocks"):
            given = getattr(self, name) is not None
            takes = name in PARAMETRIZATIONS[self.kind].sizes
            if given and not takes:
                raise ValueError(f"{name} does not apply to kind {self.kind}; remove it")
            if takes and not given:
                raise ValueError(f"kind {self.kind} needs {name}; add it")
        return self


class GuideConfig(Config):
    """Self-guided training (arXiv 2406.16450, section 4): a dense guide that fades out.

    It runs for the first `ratio` of the steps. `fixed_steps` spends the guide's FLOPs on top;
    `fixed_flops` instead reads the guided steps' tokens once more at the end, without the guide,
    so that a run costs about what a longer one without guidance would. With `reduce_flops` a layer
    runs its guide with the probability of its share: half of the cost. The guide starts as the
    `effective` product of the structured weights; `reference` is the public implementation's,
    which leaves the permutations of blockshuffle out.
    """

    ratio: Annotated[float, Field(gt=0, le=1)]
    mode: Literal["fixed_steps", "fixed_flops"] = "fixed_flops"
    reduce_flops: bool = True
    schedule: Literal["cosine", "linear"] = "cosine"
    init: Literal["effective", "reference"] = "effective"


class ArchitectureOptions(Config):
    """What a transformer may have otherwise than the paper's presets, whose values these are.

    `gelu_tanh` is the approximation by tanh, which the public StructuredFFN code computes;
    `rope_interpolation` divides positions; `dropout` is that of the embedding and of what each
    sublayer adds; `inverse_layer_scale` divides attention scores by the layer's number, from 1.
    """

    position: Literal["rope", "absolute"] = "rope"
    rope_base: PositiveFloat = 10_000.0
    rope_interpolation: PositiveFloat = 1.0
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    activation: Literal["gelu", "gelu_tanh", "swiglu"] = "gelu"
    tie_embeddings: bool = True
    bias: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    inverse_layer_scale: bool = False


class ModelConfig(ArchitectureOptions):
    """A pre-norm decoder-only transformer. Left out, `attn_dim` is the hidden width, and every
    query head has its own key and value head."""

    vocab_size: PositiveInt
    block_size: PositiveInt
    num_layers: PositiveInt
    hidden_dim: PositiveInt
    ffn_dim: PositiveInt
    attn_dim: PositiveInt = Field(default_factory=lambda fields: fields["hidden_dim"])
    num_heads: PositiveInt
    num_kv_heads: PositiveInt = Field(default_factory=lambda fields: fields["num_heads"])
    ffn: FFNConfig = FFNConfig()
    guide: GuideConfig | None = None

    @property
    def head_dim(self) -> int:
        return self.attn_dim // self.num_heads

    @property
    def kv_dim(self) -> int:
        """Features of all key heads together, and of all value heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def ffn_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(inputs, outputs) of fc1 and of fc2; SwiGLU's fc1 makes a gate beside each feature."""
        inner = self.ffn_dim * (2 if self.activation == "swiglu" else 1)
        return (self.hidden_dim, inner), (self.ffn_dim, self.hidden_dim)

    @model_validator(mode="after")
    def _shapes_divide(self) -> Self:
        self._check_heads()
        self._check_rank()
        self._check_blocks()
        return self

    @model_validator(mode="after")
    def _guides_something(self) -> Self:
        guided = self.num_layers - self.ffn.keep_first_dense
        if self.guide and (self.ffn.kind == "dense" or not guided):
            raise ValueError("guide needs layers with a structured FFN; remove it")
        return self

    def _check_heads(self) -> None:
        rope = self.position == "rope"
        unit = self.num_heads * (2 if rope else 1)
        if self.attn_dim % unit:
            raise ValueError(
                f"attn_dim {self.attn_dim} over num_heads {self.num_heads} must give "
                f"{'an even' if rope else 'a whole'} head dimension; the nearest attn_dim that "
                f"does is {max(1, round(self.attn_dim / unit)) * unit}"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads {self.num_kv_heads} does not divide num_heads {self.num_heads}; "
                f"the nearest that does is {_nearest_divisor(self.num_heads, self.num_kv_heads)}"
            )

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
        if self.ffn.rank is not None:
            sides["rank"] = self.ffn.rank
        for name, size in sides.items():
            if size % nblocks:
                raise ValueError(
                    f"nblocks {nblocks} does not divide {name} {size}; the nearest that does is "
                    f"{_nearest_divisor(size, nblocks)}"
                )


def _nearest_divisor(size: int, wanted: int) -> int:
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    return min(divisors, key=lambda n: abs(n - wanted))


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


class AdamWConfig(Config):
    """AdamW with linear warm-up and cosine decay; the defaults are the paper's.

    `decay` says which parameters weight decay pulls on: all, as in the paper, or the matrices
    (embeddings among them) and neither biases nor norms.
    """

    min_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[float, Field(ge=0, lt=1)],
    ] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.1
    decay: Literal["all", "matrices"] = "all"
    max_grad_norm: PositiveFloat = 1.0


class OptimizerConfig(AdamWConfig):
    """The optimizer of a run; `learning_rate` is the peak."""

    learning_rate: PositiveFloat


class RuntimeConfig(Config):
    """How a run executes; nothing here changes its result beyond floating-point rounding.

    `micro_batch_size` is in sequences and per worker; the intervals are in optimizer steps.
    Several workers hold a copy of the model each (`ddp`) or a shard (`fsdp`). `compile` is on
    where it is left out and the device is CUDA. `activation_checkpointing: k` recomputes the
    activations of every k-th layer in the backward pass, of none at 0.
    """

    micro_batch_size: PositiveInt = 16
    log_interval: PositiveInt = 10
    eval_interval: PositiveInt = 100
    checkpoint_interval: PositiveInt = 100
    parallel: Literal["ddp", "fsdp"] = "ddp"
    compile: bool | None = None
    activation_checkpointing: NonNegativeInt = 0


class RunConfig(Config):
    """One training run. `batch_size` is in sequences per optimizer step, over all workers.

    `steps` read fresh tokens; a guide in mode `fixed_flops` adds steps that read some again.
    """

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
        """Tokens of text trained on, exactly; those that are read again count once."""
        return self.tokens_at(self.total_steps)

    @property
    def guided_steps(self) -> int:
        """Optimizer steps with the guide, the first of the run; 0 without one."""
        return int(self.model.guide.ratio * self.steps) if self.model.guide else 0

    @property
    def total_steps(self) -> int:
        """Optimizer steps, with those that read tokens again; schedules run over these."""
        guide = self.model.guide
        repeated = self.guided_steps if guide and guide.mode == "fixed_flops" else 0
        return self.steps + repeated

    def tokens_at(self, step: int) -> int:
        """Tokens of text trained on after `step` optimizer steps."""
        return min(step, self.steps) * self.tokens_per_step

    @model_validator(mode="after")
    def _evaluates_something(self) -> Self:
        if self.eval_tokens < self.model.block_size:
            raise ValueError(
                f"eval_tokens {self.eval_tokens} is less than one sequence of "
                f"{self.model.block_size} tokens; raise it"
            )
        return self

    @model_validator(mode="after")
    def _guides_a_step(self) -> Self:
        if self.model.guide and not self.guided_steps:
            raise ValueError(
                f"guide.ratio {self.model.guide.ratio:g} of {self.steps} steps is less than one "
                f"step; use {1 / self.steps:.2g} or more, or a larger budget"
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
