"""The shape of a transformer: its layers, the kind of its FFNs, its guide."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from workloads.config.ffn_kinds import SizedFFN
from workloads.config.growth_options import GrowthOptions, GrowthPolicy
from workloads.config.scaling import ScalingConfig
from workloads.errors import Misfit
from workloads.schema.base import Config, Depth, Size

NORM_EPS = 1e-5


class FFNConfig(SizedFFN):
    """The FFNs of a model: their kind and its sizes, and whether the first layer's is dense."""

    keep_first_dense: bool = True
    dense_layers: Annotated[tuple[PositiveInt, ...], Field(exclude_if=lambda v: not v)] = ()
    """Further layers, counted from 0, whose FFN is dense: copies of the first one in a model that
    has been grown."""

    def dense_at(self, layer: int) -> bool:
        """Return whether the FFN of the layer, counted from 0, is dense."""
        return self.is_dense or layer in self.dense_layers or (layer == 0 and self.keep_first_dense)

    @model_validator(mode="after")
    def _has_its_sizes(self) -> Self:
        self.check_sizes()
        return self


class GuideOptions(Config):
    """Options of a dense guide, which fades out in self-guided training (arXiv 2406.16450,
    section 4)."""

    mode: Literal["fixed_steps", "fixed_flops"] = "fixed_flops"
    """`fixed_steps` adds the guide's FLOPs to those of the steps; `fixed_flops` also reads the
    tokens of guided steps once more at the end, without the guide."""
    reduce_flops: bool = True
    """Run each guide in a step with a probability equal to the guide weight, at half the cost."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the guide weight, the guide's factor in the mixture, falls from 1 to 0."""
    init: Literal["effective", "reference"] = "effective"
    """`effective` starts the guide as the product of the structured weights; `reference` starts it
    as the public implementation does, without the permutations of blockshuffle."""


class GuideConfig(GuideOptions):
    """Self-guided training for the first `ratio` of the steps."""

    ratio: Annotated[float, Field(gt=0, le=1)]


class RopeScaling(Config):
    """The stretching of rotary positions to a longer context, as Llama 3.1's public code has it.

    A feature pair that turns once in `original_block_size / low_freq_factor` tokens or more turns
    `factor` times as slowly; one that turns once in `original_block_size / high_freq_factor` or
    fewer turns as before; those between are mixed. The defaults are Llama 3's.
    """

    factor: Annotated[float, Field(ge=1)]
    """How many times as slowly the slow features turn."""
    low_freq_factor: PositiveFloat = 1.0
    """Turns within `original_block_size` up to which a feature is slow."""
    high_freq_factor: PositiveFloat = 4.0
    """Turns within `original_block_size` from which a feature stays as it is."""
    original_block_size: Size = 8192
    """The context length before the stretching, in tokens."""

    @model_validator(mode="after")
    def _mixes_between(self) -> Self:
        if self.high_freq_factor <= self.low_freq_factor:
            raise Misfit(
                f"high_freq_factor {self.high_freq_factor:g} must exceed low_freq_factor "
                f"{self.low_freq_factor:g}; Llama 3 has 4 and 1",
                "high_freq_factor",
                "low_freq_factor",
            )
        return self


class ArchitectureOptions(Config):
    """The options of a transformer; the defaults are those of the paper's models."""

    position: Literal["rope", "absolute"] = "rope"
    """Rotary, or learned absolute positions."""
    rope_base: PositiveFloat = 10_000.0
    """Base of the rotary frequencies."""
    rope_interpolation: PositiveFloat = 1.0
    """Divides the positions of `rope`."""
    rope_scaling: Annotated[RopeScaling | None, Field(exclude_if=lambda v: v is None)] = None
    """Llama 3's scaling of `rope`, in place of `rope_interpolation`; null, there is none."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """The norm before each sublayer and before the head."""
    activation: Literal["gelu", "gelu_tanh", "swiglu"] = "gelu"
    """The FFN's; `gelu_tanh` approximates GELU by tanh, as the public StructuredFFN code does."""
    tie_embeddings: bool = True
    """The head shares the embedding's weights."""
    bias: bool = True
    """Biases in the linear layers and layer norms."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The probability with which an entry of the embedding, or of a sublayer's output, is zero."""
    inverse_layer_scale: bool = False
    """Divide attention scores by the layer's number, from 1."""


class ModelConfig(ArchitectureOptions):
    """A pre-norm decoder-only transformer.

    Where they are left out, `attn_dim` is the hidden width, and every query head has its own key
    and value head.
    """

    vocab_size: Size
    block_size: Size
    num_layers: Depth
    hidden_dim: Size
    ffn_dim: Size
    attn_dim: Size = Field(default_factory=lambda fields: fields["hidden_dim"])
    num_heads: Depth
    num_kv_heads: Depth = Field(default_factory=lambda fields: fields["num_heads"])
    ffn: FFNConfig = FFNConfig()
    guide: GuideConfig | None = None
    norm_eps: Annotated[PositiveFloat, Field(exclude_if=lambda v: v == NORM_EPS)] = NORM_EPS
    """What the norms add to the mean square or the variance; a model grown in width with features
    that hold nothing has a smaller one."""
    growth: Annotated[GrowthConfig | None, Field(exclude_if=lambda v: v is None)] = None
    """From what the model grows in the course of its run."""
    scaling: Annotated[ScalingConfig | None, Field(exclude_if=lambda v: v is None)] = None
    """What a transfer rule multiplies; without one, nothing."""

    @property
    def multipliers(self) -> ScalingConfig:
        """What is multiplied: 1 each where no rule says otherwise."""
        return self.scaling or ScalingConfig()

    @property
    def growths(self) -> list[GrowthConfig]:
        """The growths of the run, first to last."""
        return [] if self.growth is None else [*self.growth.base.growths, self.growth]

    @property
    def head_dim(self) -> int:
        return self.attn_dim // self.num_heads

    @property
    def kv_dim(self) -> int:
        """Features of all key heads together, and of all value heads together."""
        return self.num_kv_heads * self.head_dim

    @property
    def ffn_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(inputs, outputs) of fc1 and of fc2; the fc1 of SwiGLU also gives a gate per feature."""
        inner = self.ffn_dim * (2 if self.activation == "swiglu" else 1)
        return (self.hidden_dim, inner), (self.ffn_dim, self.hidden_dim)

    @model_validator(mode="after")
    def _shapes_divide(self) -> Self:
        self._check_heads()
        for name, value in self.ffn.sizes.items():
            self._check_size(name, value)
        return self

    @model_validator(mode="after")
    def _stretches_positions_once(self) -> Self:
        if self.rope_scaling and self.rope_interpolation != 1:
            raise Misfit(
                f"rope_interpolation {self.rope_interpolation:g} and rope_scaling both stretch the "
                "positions; remove one",
                "model.rope_interpolation",
                "model.rope_scaling",
            )
        return self

    @model_validator(mode="after")
    def _grows_without_a_guide(self) -> Self:
        if self.guide and self.growth:
            raise Misfit("a run has a guide or grows, and not both; remove one", "guide", "grow")
        return self

    @model_validator(mode="after")
    def _guides_something(self) -> Self:
        structured = not all(map(self.ffn.dense_at, range(self.num_layers)))
        if self.guide and not (self.ffn.row.mergeable and structured):
            raise Misfit("guide needs layers with a structured FFN; remove it", "guide")
        return self

    def _check_heads(self) -> None:
        rope = self.position == "rope"
        unit = self.num_heads * (2 if rope else 1)
        if self.attn_dim % unit:
            raise Misfit(
                f"attn_dim {self.attn_dim} over num_heads {self.num_heads} must give "
                f"{'an even' if rope else 'a whole'} head dimension; the nearest attn_dim that "
                f"does is {max(1, round(self.attn_dim / unit)) * unit}",
                *("model.attn_dim", "model.num_heads", "model.hidden_dim"),
            )
        if self.num_heads % self.num_kv_heads:
            raise Misfit(
                f"num_kv_heads {self.num_kv_heads} does not divide num_heads {self.num_heads}; "
                f"the nearest that does is {_nearest_divisor(self.num_heads, self.num_kv_heads)}",
                *("model.num_kv_heads", "model.num_heads"),
            )

    def _check_size(self, name: str, value: int) -> None:
        """Raise ValueError where a size of the FFN does not fit the model's shape."""
        rule, limit = self.ffn.row.sizes[name], min(self.hidden_dim, self.ffn_dim)
        if rule.within_sides and value > limit:
            raise Misfit(
                f"{name} {value} exceeds the projection's smaller side; use {limit} or less",
                *(f"ffn.{name}", "ffn.fraction"),
            )
        found = {n: self.ffn.sizes.get(n) or getattr(self, n, None) for n in rule.divides}
        divided = {n: size for n, size in found.items() if size is not None}
        for other, size in divided.items():
            if size % value:
                fitting = _nearest_divisor(math.gcd(*divided.values()), value)
                does = fitting == _nearest_divisor(size, value)
                fits = "does" if does else f"divides {', '.join(divided)}"
                raise Misfit(
                    f"{name} {value} does not divide {other} {size}; the nearest that {fits} is "
                    f"{fitting}",
                    f"ffn.{name}",
                )


class GrowthConfig(GrowthOptions, GrowthPolicy):
    """The growth of a run's model from a smaller one, which trains in the steps before."""

    base: ModelConfig
    """The smaller model; it may have grown itself."""
    at_step: PositiveInt | None = None
    """Fresh steps before the growth, or"""
    at_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """their fraction of all fresh steps of the run."""

    def end(self, fresh_steps: int) -> int:
        """Return the steps before those of the grown model in a run of so many fresh steps."""
        return self.start(fresh_steps) + (self.learn_steps or 0)

    def start(self, fresh_steps: int) -> int:
        """Return the steps before the growth in a run of so many fresh steps."""
        return self.at_step or int((self.at_fraction or 0.0) * fresh_steps)


ModelConfig.model_rebuild()


def layer_ffns(model: ModelConfig) -> list[FFNConfig]:
    """Return the FFN parametrization of each layer, first to last."""
    dense_at = model.ffn.dense_at
    return [FFNConfig() if dense_at(layer) else model.ffn for layer in range(model.num_layers)]


def _nearest_divisor(size: int, wanted: int) -> int:
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    return min(divisors, key=lambda n: abs(n - wanted))
