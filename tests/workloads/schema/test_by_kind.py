"""Fields whose class follows from `kind`: read, written, described, and wrong in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import PositiveInt, ValidationError

from workloads.errors import InputError
from workloads.schema import strict_yaml
from workloads.schema.base import Config
from workloads.schema.by_kind import ByKind


class Shape(Config):
    size: PositiveInt = 1


class Round(Shape):
    kind: Literal["round"] = "round"
    radius: float = 1.0


class Square(Shape):
    kind: Literal["square"]
    sides: tuple[int, int] = (1, 1)


class Drawing(Config):
    shape: Annotated[Shape, ByKind({"round": Round, "square": Square})] = Round()


def test_the_kind_chooses_the_class_and_the_first_needs_no_name() -> None:
    assert Drawing.model_validate({"shape": {"radius": 2}}).shape == Round(radius=2.0)
    square = Square(kind="square", sides=(2, 3))
    assert Drawing.model_validate({"shape": {"kind": "square", "sides": (2, 3)}}).shape == square
    assert Drawing(shape=square).shape is square


def test_it_is_written_with_all_fields_of_its_class_and_read_back() -> None:
    drawing = Drawing(shape=Square(kind="square", size=4))
    assert drawing.model_dump()["shape"] == {"kind": "square", "size": 4, "sides": (1, 1)}
    written = drawing.model_dump(exclude={"shape": {"sides"}})
    assert written == {"shape": {"kind": "square", "size": 4}}
    assert Drawing.model_validate_json(drawing.model_dump_json()) == drawing


def test_its_schema_has_every_class() -> None:
    schema = Drawing.model_json_schema()
    choices = schema["properties"]["shape"]["oneOf"]
    assert [choice["$ref"] for choice in choices] == ["#/$defs/Round", "#/$defs/Square"]


@pytest.mark.parametrize(
    "shape", [{"kind": "square", "sides": [2, 3]}, {"size": "3"}, {"kind": "square", "size": "3"}]
)
def test_strictness_reaches_the_class(shape: dict[str, object]) -> None:
    Drawing.model_validate({"shape": shape})
    with pytest.raises(ValidationError):
        Drawing.model_validate({"shape": shape}, strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{kind: squre}", ":2: shape.kind = 'squre': not a known value; the nearest is square (o"),
        (
            "{kind: 3}",
            ":2: shape.kind = 3: not a known value; the nearest is ",
        ),
        ("{kind: [3]}", ":2: shape.kind: "),
        ("{kind: square, side: 3}", ":2: shape.side = 3: no such key; the nearest is sides (of "),
        ("{radios: 3}", ":2: shape.radios = 3: no such key; the nearest is radius (of size, "),
        ("{kind: square, size: 0}", ":2: shape.size = 0: must be greater than 0; raise it"),
        ("3", ":2: shape = 3: this should be a mapping; its keys are size, kind, "),
        ("{kind: null}", ":2: shape.kind: not a known value; the nearest is "),
        ("{kind: square, sides: [1]}", ":2: shape.sides: this list is too short, with 1 of its "),
        ("{kind: square, sides: [1, 2, 3]}", ":2: shape.sides: this list takes 2 items or fewer"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key_as_it_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "drawing.yaml"
    path.write_text(f"# A drawing.\nshape: {text}\n")
    with pytest.raises(InputError) as error:
        strict_yaml.load(path, Drawing)
    assert str(error.value).startswith(f"{path}{message}")
