"""The base of every configuration model."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
)


class Config(BaseModel):
    """Base of every configuration model: immutable, unknown keys and infinities are errors.

    The docstring below a field is its description in the JSON Schema of study files.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
