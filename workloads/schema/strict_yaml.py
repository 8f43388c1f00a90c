"""YAML files checked against a model: a mistake is one line with file, line, value and remedy.

Scalars are what they look like: `true` and `"3"` are no numbers, and 3 is no text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from workloads.errors import InputError
from workloads.schema.by_kind import ByKind
from workloads.schema.known_names import suggestion

T = TypeVar("T", bound=BaseModel)
Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A validated file: the value, its source text, and where each part of it stands."""

    value: T
    path: Path
    text: str
    tree: Any

    def error(self, location: Location, message: str) -> InputError:
        """Return an error about the part at `location`, such as ("grid", "ffn", 1, "rank")."""
        line, given = _find(self.tree, location)
        return _error(self.path, line, location, given, message)


def load(path: Path, model: type[T]) -> Loaded[T]:
    """Read `path` as `model`. Raises InputError for an unreadable, malformed or invalid file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; check the path") from error
    try:
        tree = YAML(typ="rt").load(text)
        content = _plain(tree)
    except (YAMLError, ValueError) as error:  # ValueError: a scalar that is not what its tag says
        raise _malformed(path, error) from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply, or in itself; write it flatter") from error
    try:
        return Loaded(model.model_validate(content, strict=True), path, text, tree)
    except ValidationError as error:
        raise _invalid(path, tree, model, error) from error


def _malformed(path: Path, error: Exception) -> InputError:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    problem = error.problem if isinstance(error, MarkedYAMLError) else str(error)
    line = mark.line + 1 if mark else 1
    return InputError(f"{path}:{line}: not valid YAML: {problem}; correct the line")


def _invalid(path: Path, tree: Any, model: type[BaseModel], error: ValidationError) -> InputError:
    # A misspelt key is also a missing one: the misspelling is what to show.
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first = details[0]
    _, location = _follow(model, first["loc"])
    if first["type"] == "union_tag_invalid":
        location += ("kind",)
    line, given = _find(tree, location)
    message = _message(first, model)
    if len(details) > 1:
        message += f" (and {len(details) - 1} more in this file)"
    return _error(path, line, location, given, message)


def _error(path: Path, line: int, location: Location, given: Any, message: str) -> InputError:
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location).lstrip(".")
    value = "" if isinstance(given, dict | list) or given is None else f" = {given!r}"
    return InputError(f"{path}:{line}: {field or 'file'}{value}: {message}")


def reason(error: ValueError) -> str:
    """Return the first mistake that an error tells of, as part of one line."""
    if isinstance(error, ValidationError):
        return _message(error.errors()[0])
    return str(error)


def _message(detail: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """Say what is wrong and what to write instead, from one pydantic error."""
    name, kind = str(detail["loc"][-1]) if detail["loc"] else "", detail["type"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden" and model:
        known, _ = _follow(model, detail["loc"][:-1])
        return f"no such key; {suggestion(name, known.model_fields)}"
    if kind == "missing":
        return "this key is required; add it"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return f"not a known value; {suggestion(str(detail['input']), allowed)}"
    if kind == "union_tag_invalid":
        kinds = re.findall(r"'([^']*)'", context["expected_tags"])
        return f"not a known value; {suggestion(context['tag'], kinds)}"
    if kind == "value_error":
        return reason(context["error"])
    if kind == "greater_than":
        return f"must be greater than {context['gt']}; raise it"
    return detail["msg"].replace("Input should", "this should", 1) + "; change it"


def _follow(model: type[BaseModel], location: Location) -> tuple[type[BaseModel], Location]:
    """Return the model that a location leads to, and the location as it is in the file.

    Below a field whose class is chosen by its kind, pydantic's locations name that kind, too.
    """
    in_file: Location = ()
    parts = iter(location)
    for part in parts:
        in_file += (part,)
        field = model.model_fields.get(part) if isinstance(part, str) else None
        choice = next((m for m in field.metadata if isinstance(m, ByKind)), None) if field else None
        if choice:
            model = choice.classes.get(str(next(parts, None)), model)
        elif field:
            model = _nested_model(field.annotation) or model
    return model, in_file


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_nested_model, get_args(annotation))), None)


def _find(tree: Any, location: Location) -> tuple[int, Any]:
    """Return the 1-based line and the value of the deepest part of `location` in the file."""
    line, node = 1, tree
    for part in location:
        if isinstance(node, CommentedMap) and part in node:
            # A key merged in by `<<` has no place of its own: its mapping's stands.
            places = node.lc.data or {}
            line = places[part][0] + 1 if part in places else line
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = node.lc.item(part)[0] + 1
        else:
            return line, None
        node = node[part]
    return line, node


def _plain(node: Any) -> Any:
    """Turn YAML nodes into built-in types; strict validation then converts none of them.

    A number written with an exponent is whole where its value is: `1.0e5` may count tokens.
    """
    if isinstance(node, CommentedMap):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return tuple(_plain(value) for value in node)
    if isinstance(node, ScalarBoolean):  # one with an anchor, which is an int
        return bool(node)
    if isinstance(node, float) and node.is_integer():
        return int(node)
    return node
