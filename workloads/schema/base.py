"""The base of every configuration model."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# A size of a model, a multiplier of one, a batch in sequences, and a seed as torch takes it: beyond
# what anyone trains, so that a slip of the keyboard is told before it is computed with.
MOST_FEATURES, MOST_LAYERS = 2**24, 10_000
Size = Annotated[int, Field(gt=0, le=MOST_FEATURES)]
Depth = Annotated[int, Field(gt=0, le=MOST_LAYERS)]
Width = Annotated[float, Field(gt=0, le=1000)]
BatchSize = Annotated[int, Field(gt=0, le=2**20)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]


class Config(BaseModel):
    """Base of every configuration model: immutable, unknown keys and infinities are errors.

    The docstring below a field is its description in the JSON Schema of study files.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
