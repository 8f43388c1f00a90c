"""A field whose values are the names of a table."""

from typing import Annotated

import pytest
from pydantic import ValidationError

from workloads.schema.base import Config
from workloads.schema.known_names import OneOf, suggestion

TABLE = {"alpha": 1, "Beta": 2}


class Named(Config):
    name: Annotated[str, OneOf(TABLE, "letter")] = "alpha"
    other: Annotated[str, OneOf(TABLE, "letter")] | None = None


def test_a_name_of_the_table_is_accepted() -> None:
    assert Named(name="Beta", other="alpha").name == "Beta"


def test_another_name_is_refused_with_the_nearest_and_all() -> None:
    message = r"no such letter; the nearest is Beta \(of alpha, Beta\)"
    with pytest.raises(ValidationError, match=message):
        Named(name="betta")
    with pytest.raises(ValidationError, match=message):
        Named(other="BETTA")
    assert suggestion("alfa", ["x", "alpha"]) == "the nearest is alpha (of x, alpha)"


def test_the_json_schema_lists_the_names() -> None:
    found = Named.model_json_schema()["properties"]["name"]
    assert found["type"] == "string" and found["enum"] == ["alpha", "Beta"]
