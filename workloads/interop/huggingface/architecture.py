"""What `transformers` knows a model by: the config.json and the tensors of its architecture.

An architecture is one class in a file of its own and one row of the table. The class reads and
writes config.json, and says where each of its tensors is in a dense model here. Both ways follow
from that: a tensor of theirs is some rows of a parameter of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor

from workloads.config.model import ModelConfig, RopeScaling
from workloads.errors import InputError

# Keys of RoPE's scaling there, and the fields here.
SCALING = {
    "factor": "factor",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "original_max_position_embeddings": "original_block_size",
}


@dataclass(frozen=True)
class Place:
    """Where a tensor of an architecture is in a dense model here: rows of a parameter."""

    parameter: str
    rows: slice | Tensor = field(default_factory=lambda: slice(None))


class Architecture(BaseModel, ABC):
    """The config.json of an architecture: what decides its outputs, with the defaults there.

    Rotary positions are halves of a head there and here, so no weight is permuted for them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: ClassVar[str]
    """The class of `transformers`."""
    known_as: ClassVar[str]
    """Its `model_type`."""
    rope_keys: ClassVar[tuple[str, str]]
    """The fields of RoPE's base, and of the part of each head that is rotated."""
    head: ClassVar[str]
    """The tensor of the head, where it is not tied to the embedding."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Other names that tensors go by in files, with those of `places`."""

    vocab_size: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    max_position_embeddings: PositiveInt = 2048
    tie_word_embeddings: bool = False
    rope_scaling: dict[str, Any] | None = None
    quantization_config: Annotated[dict[str, Any] | None, Field(exclude=True)] = None

    @classmethod
    @abstractmethod
    def has(cls, model: ModelConfig) -> dict[str, tuple[Any, ...]]:
        """Return the values that options may have there, for a model of this shape."""

    @classmethod
    @abstractmethod
    def of(cls, model: ModelConfig) -> Self:
        """Return the config.json of a model whose options the architecture has."""

    @abstractmethod
    def readable(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of keys that a model here can have."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the fields of the model that follow from this architecture's own keys."""

    @abstractmethod
    def places(self) -> Iterator[tuple[str, Place]]:
        """Yield the name of each tensor, with its place in a dense model that has all biases."""

    @property
    @abstractmethod
    def biased(self) -> bool:
        """True where config.json turns biases of linear layers on."""

    def model(self) -> ModelConfig:
        """Return the shape here. Raises InputError where there is none such, and pydantic's
        ValidationError where the numbers do not fit together."""
        for key, values in self.readable().items():
            if (value := getattr(self, key)) not in values:
                shown = "a mapping" if isinstance(value, Mapping) else repr(value)
                listed = " or ".join(map(repr, values))
                raise InputError(f"{key} is {shown}; a model here can only have {listed}")
        return ModelConfig(
            vocab_size=self.vocab_size,
            block_size=self.max_position_embeddings,
            num_layers=self.num_hidden_layers,
            hidden_dim=self.hidden_size,
            ffn_dim=self.intermediate_size,
            num_heads=self.num_attention_heads,
            tie_embeddings=self.tie_word_embeddings,
            rope_base=getattr(self, self.rope_keys[0]),
            bias=self.biased,
            **_scaling_here(self.rope_scaling),
            **self.options(),
        )

    @classmethod
    def shared(cls, model: ModelConfig) -> dict[str, Any]:
        """Return the keys that all architectures have, of a model's config.json."""
        return {
            "vocab_size": model.vocab_size,
            "hidden_size": model.hidden_dim,
            "intermediate_size": model.ffn_dim,
            "num_hidden_layers": model.num_layers,
            "num_attention_heads": model.num_heads,
            "max_position_embeddings": model.block_size,
            "tie_word_embeddings": model.tie_embeddings,
            "rope_scaling": _scaling_there(model),
            cls.rope_keys[0]: model.rope_base,
        }

    @model_validator(mode="before")
    @classmethod
    def _with_rope_apart(cls, given: Any) -> Any:
        """Read `rope_parameters`, as version 5 writes them, as the keys of before."""
        parameters = given.get("rope_parameters") if isinstance(given, Mapping) else None
        if not isinstance(parameters, Mapping):
            return given
        there = ("rope_theta", "partial_rotary_factor")
        apart = {
            ours: parameters[key]
            for key, ours in zip(there, cls.rope_keys, strict=True)
            if key in parameters
        }
        scaling = {key: value for key, value in parameters.items() if key not in there}
        return {**given, **apart, "rope_scaling": scaling}


def linear_places(
    theirs: str, ours: str, rows: slice | Tensor, bias: bool
) -> Iterator[tuple[str, Place]]:
    """Yield the places of a linear layer's weight and, where it has one, of its bias."""
    for leaf in ("weight", "bias") if bias else ("weight",):
        yield f"{theirs}.{leaf}", Place(f"{ours}.{leaf}", rows)


def _scaling_here(scaling: Mapping[str, Any] | None) -> dict[str, Any]:
    scaling = scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    try:
        match kind:
            case "default":
                return {}
            case "linear":
                return {"rope_interpolation": scaling["factor"]}
            case "llama3":
                fields = {ours: scaling[theirs] for theirs, ours in SCALING.items()}
                return {"rope_scaling": RopeScaling.model_validate(fields)}
    except KeyError as error:
        raise InputError(f"rope_scaling of type {kind} lacks {error}; add it") from None
    raise InputError(
        f"rope_scaling is of type {kind}; a model here can only have default, linear or llama3"
    )


def _scaling_there(model: ModelConfig) -> dict[str, Any] | None:
    if model.rope_scaling:
        fields = model.rope_scaling.model_dump()
        return {"rope_type": "llama3"} | {theirs: fields[ours] for theirs, ours in SCALING.items()}
    if model.rope_interpolation != 1:
        return {"rope_type": "linear", "factor": model.rope_interpolation}
    return None
