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
    """Base of every configuration model: immutable, unknown keys and infinities are errors.

    The docstring below a field is its description in the JSON Schema of study files.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


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


class GuideOptions(Config):
    """How a dense guide fades out in self-guided training (arXiv 2406.16450, section 4)."""

    mode: Literal["fixed_steps", "fixed_flops"] = "fixed_flops"
    """`fixed_steps` spends the guide's FLOPs on top; `fixed_flops` reads the guided steps' tokens
    once more at the end, without the guide, and costs what a longer run without it would."""
    reduce_flops: bool = True
    """Run a layer's guide with the probability of its share: half of the cost."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the guide's share falls from 1 to 0."""
    init: Literal["effective", "reference"] = "effective"
    """The guide starts as the `effective` product of the structured weights; `reference` is the
    public implementation's, which leaves the permutations of blockshuffle out."""


class GuideConfig(GuideOptions):
    """Self-guided training for the first `ratio` of the steps."""

    ratio: Annotated[float, Field(gt=0, le=1)]


class ArchitectureOptions(Config):
    """What a transformer may have otherwise than the paper's presets, whose values these are."""

    position: Literal["rope", "absolute"] = "rope"
    """Rotary, or learned absolute positions."""
    rope_base: PositiveFloat = 10_000.0
    """Base of the rotary frequencies."""
    rope_interpolation: PositiveFloat = 1.0
    """Divides the positions of `rope`."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """The norm before each sublayer and before the head."""
    activation: Literal["gelu", "gelu_tanh", "swiglu"] = "gelu"
    """Of the FFN; `gelu_tanh` approximates by tanh, as the public StructuredFFN code does."""
    tie_embeddings: bool = True
    """The head shares the embedding's weights."""
    bias: bool = True
    """Biases in the linear layers and layer norms."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the embedding and of what each sublayer adds: a probability."""
    inverse_layer_scale: bool = False
    """Divide attention scores by the layer's number, from 1."""


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
    """The text: the standard library of the running Python."""
    tokenizer: Literal["byte"] = "byte"
    """UTF-8 bytes and an end of document: 257 ids."""
    val_fraction: float = 0.05
    """Share of documents kept for validation."""

    @model_validator(mode="after")
    def _split_is_a_split(self) -> Self:
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction {self.val_fraction} must lie between 0 and 1; try 0.05")
        return self


Share = Annotated[float, Field(ge=0, lt=1)]
Schedule = Literal["cosine", "constant", "wsd"]
# What each schedule takes. A warm-up in steps is the same for longer runs that continue shorter.
SCHEDULE_FIELDS: dict[Schedule, frozenset[str]] = {
    "cosine": frozenset({"warmup_fraction", "min_learning_rate_ratio"}),
    "constant": frozenset({"warmup_steps"}),
    "wsd": frozenset({"warmup_steps", "decay_fraction", "min_learning_rate_ratio"}),
}


class AdamWConfig(Config):
    """AdamW with a schedule of its learning rate; the defaults are the paper's."""

    schedule: Schedule = "cosine"
    """After a linear warm-up: `cosine` decay; `constant` at the peak; `wsd`, constant and then
    linear decay. Under the latter two a larger budget continues from the smaller one's run."""
    min_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The lowest rate over the peak, for `cosine` and `wsd`."""
    warmup_fraction: Share = 0.1
    """Share of the steps that `cosine` warms up."""
    warmup_steps: NonNegativeInt | None = None
    """Optimizer steps that `constant` and `wsd` warm up."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the steps, the last ones, that `wsd` decays."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay of the means of gradients and of their squares."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay, times the learning rate a step."""
    decay: Literal["all", "matrices"] = "all"
    """What weight decay pulls on: `all`, as in the paper, or neither biases nor norms."""
    max_grad_norm: PositiveFloat = 1.0
    """The global gradient norm is clipped to it."""

    @model_validator(mode="after")
    def _takes_what_its_schedule_takes(self) -> Self:
        for name in sorted(self.unused_fields):
            if getattr(self, name) != AdamWConfig.model_fields[name].default:
                raise ValueError(f"{name} does not apply to schedule {self.schedule}; remove it")
        if self.schedule != "cosine" and self.warmup_steps is None:
            raise ValueError(f"schedule {self.schedule} needs warmup_steps; add it")
        return self

    @property
    def unused_fields(self) -> set[str]:
        """Those of other schedules, and `schedule` where it is cosine, at first the only one."""
        later = {"schedule"} if self.schedule == "cosine" else set[str]()
        return later.union(*SCHEDULE_FIELDS.values()) - SCHEDULE_FIELDS[self.schedule]

    def decay_start(self, steps: int) -> int:
        """Of `steps` in all, those before the linear decay of `wsd`, which takes at least one."""
        decay = max(1, round(self.decay_fraction * steps)) if self.schedule == "wsd" else 0
        return steps - decay


class OptimizerConfig(AdamWConfig):
    """The optimizer of a run; `learning_rate` is the peak."""

    learning_rate: PositiveFloat


class RuntimeConfig(Config):
    """How a run executes; nothing here changes its result beyond floating-point rounding."""

    micro_batch_size: PositiveInt = 16
    """Sequences of one forward pass, per worker."""
    log_interval: PositiveInt = 10
    """Optimizer steps between recorded rows."""
    eval_interval: PositiveInt = 100
    """Optimizer steps between evaluations."""
    checkpoint_interval: PositiveInt = 100
    """Optimizer steps between checkpoints."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Several workers hold a copy of the model each (`ddp`) or a shard (`fsdp`)."""
    compile: bool | None = None
    """Compile the model; left out, on CUDA devices only."""
    activation_checkpointing: NonNegativeInt = 0
    """Recompute the activations of every k-th layer in the backward pass; of none at 0."""


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

    @property
    def stable_steps(self) -> int:
        """Steps, the first of the run, that do not depend on how many there are in all.

        Under `constant` all, under `wsd` those before the decay, under cosine none. A guide's
        share falls over a part of all steps: there are none with it.
        """
        shared = self.optimizer.schedule != "cosine" and not self.model.guide
        return self.optimizer.decay_start(self.total_steps) if shared else 0

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
    def _warms_up_before_it_decays(self) -> Self:
        warmup, steps = self.optimizer.warmup_steps or 0, self.total_steps
        if warmup > (start := self.optimizer.decay_start(steps)):
            raise ValueError(
                f"optimizer.warmup_steps {warmup} is more than the first {start} of {steps} steps, "
                "when the rate decays or the run ends; lower it, or raise the budget"
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
    unused: dict[str, Any] = {"runtime": True, "optimizer": config.optimizer.unused_fields}
    tree = config.model_dump(mode="json", exclude=unused)
    tree["data"]["fingerprint"] = data_fingerprint
    return tree


def trajectory(run_identity: dict[str, Any]) -> dict[str, Any]:
    """What of an identity decides the run's first `stable_steps` steps: all but its length.

    Runs of one trajectory, `constant` or `wsd`, are the same in the stable phases they share.
    """
    later = {"schedule", "decay_fraction", "min_learning_rate_ratio"}
    optimizer = {k: v for k, v in run_identity["optimizer"].items() if k not in later}
    return {k: v for k, v in run_identity.items() if k != "steps"} | {"optimizer": optimizer}


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
