"""YAML files checked against a model: a mistake is one line with file, line, value and remedy.

Scalars are what they look like: `true` and `"3"` are no numbers, and 3 is no text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from workloads.errors import InputError, Misfit
from workloads.schema import wording
from workloads.schema.by_kind import ByKind

T = TypeVar("T", bound=BaseModel)
Location = tuple[str | int, ...]
# Lists and scalars of a file, each counted as often as an alias repeats it: far beyond any study.
MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A validated file: the value, its source text, and where each part of it stands."""

    value: T
    path: Path
    text: str
    tree: Any

    def first_written(self, locations: Iterable[Location], otherwise: Location = ()) -> Location:
        """Return the first of the locations that the file has, or another one."""
        return next((where for where in locations if _has(self.tree, where)), otherwise)

    def error(self, location: Location, message: str) -> InputError:
        """Return an error about the part at `location`, such as ("grid", "ffn", 1, "rank")."""
        line, given = _find(self.tree, location)
        return _error(self.path, line, location, given, message)


def load(path: Path, model: type[T]) -> Loaded[T]:
    """Read `path` as `model`. Raises InputError for an unreadable, malformed or invalid file."""
    text = _text(path)
    yaml = YAML(typ="rt")
    yaml.Constructor = _Constructor
    try:
        tree = yaml.load(text)
    except YAMLError as error:
        raise _malformed(path, text, error) from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply, or in itself; write it flatter") from error
    content = _plain(tree)
    if (key := _key_that_is_no_word(tree)) is not None:
        line, what = key
        raise InputError(f"{path}:{line}: {what} is no key; write a word in its place")
    try:
        return Loaded(model.model_validate(content, strict=True), path, text, tree)
    except ValidationError as error:
        raise _invalid(path, tree, model, error) from error


class _Constructor(RoundTripConstructor):
    """ruamel's constructor, with a place for every error: of a value that is not what its tag says,
    and of aliases that make a small file a huge one."""

    def construct_document(self, node: Any) -> Any:
        _count(node, {})
        self.deep_construct = True  # what a value's constructor raises is then raised at its node
        return super().construct_document(node)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (YAMLError, RecursionError):
            raise
        except Exception as error:  # ruamel lets through whatever Python says of the text
            tag = str(node.tag).replace("tag:yaml.org,2002:", "!!")
            problem = str(error) if isinstance(error, ValueError) else f"this cannot be {tag}"
            raise ConstructorError(None, None, problem, node.start_mark) from error


def _count(node: Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, aliases written out. `known` are those of others.

    Raises ConstructorError at the first node that stands for too many, and RecursionError for one
    that stands in itself.
    """
    if id(node) not in known:
        parts = node.value if isinstance(node.value, list) else []
        pairs = (part if isinstance(part, tuple) else (part,) for part in parts)
        count = 1 + sum(_count(child, known) for pair in pairs for child in pair)
        if count > MOST_VALUES:
            problem = f"more than {MOST_VALUES:,} values with what its aliases repeat"
            raise ConstructorError(None, None, problem, node.start_mark)
        known[id(node)] = count
    return known[id(node)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}; check the path") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise InputError(
            f"{path}:{line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8 text"
        ) from error


def _malformed(path: Path, text: str, error: YAMLError) -> InputError:
    problem, line = str(error).partition("\n")[0], 1
    if isinstance(error, MarkedYAMLError):
        problem, mark = error.problem, error.problem_mark
        line = mark.line + 1 if mark else 1
    elif isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
    return InputError(f"{path}:{line}: not valid YAML: {problem}; correct the line")


def _invalid(path: Path, tree: Any, model: type[BaseModel], error: ValidationError) -> InputError:
    details = _mistakes(error.errors())
    first = details[0]
    _, location = _follow(model, first["loc"])
    if first["type"] == "union_tag_invalid":
        location += ("kind",)
    elif wording.lacks_an_item(first) or location[-1:] == ("[key]",):
        location = location[:-1]
    location = _as_written(tree, location)
    inside = [(*location, *field) for field in _blamed(first)]
    location = next((where for where in inside if _has(tree, where)), location)
    line, given = _find(tree, location)
    message = _message(first, model)
    if len(details) > 1:
        message += f" (and {len(details) - 1} more in this file)"
    return _error(path, line, location, given, message)


def _mistakes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Return one error for each mistake, misspelt keys first.

    A misspelt key is also a missing one, and a list with a wrong item also one too short.
    """
    unknown = [detail for detail in details if detail["type"] == "extra_forbidden"]
    misspelt = {detail["loc"][:-1] for detail in unknown}
    inside = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return unknown + [
        detail
        for detail in details
        if detail["type"] != "extra_forbidden"
        and not (detail["type"] == "missing" and detail["loc"][:-1] in misspelt)
        and not (detail["type"] == "too_short" and detail["loc"] in inside)
    ]


def _error(path: Path, line: int, location: Location, given: Any, message: str) -> InputError:
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location).lstrip(".")
    return InputError(f"{path}:{line}: {field or 'file'}{wording.value(given)}: {message}")


def reason(error: ValueError) -> str:
    """Return the first mistake that an error tells of, as part of one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    named = first["type"] != "value_error" and first["loc"]
    return (f"{'.'.join(map(str, first['loc']))} " if named else "") + _message(first)


def blamed(error: ValueError) -> list[Location]:
    """Return the fields that an error says to change, the likeliest first."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return _blamed(first) or [first["loc"]] * bool(first["loc"])
    return [*error.fields] if isinstance(error, Misfit) else []


def _blamed(detail: ErrorDetails) -> list[Location]:
    return blamed(detail.get("ctx", {})["error"]) if detail["type"] == "value_error" else []


def _message(detail: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """Say what is wrong and what to write instead, from one pydantic error."""
    if detail["type"] == "value_error":
        return reason(detail.get("ctx", {})["error"])
    place = detail["loc"][:-1] if detail["type"] == "extra_forbidden" else detail["loc"]
    return wording.message(detail, [*_follow(model, place)[0].model_fields] if model else [])


def _follow(model: type[BaseModel], location: Location) -> tuple[type[BaseModel], Location]:
    """Return the model that a location leads to, and the location as it is in the file.

    Below a field whose class is chosen by its kind, pydantic's locations name that kind, too.
    """
    in_file: Location = ()
    parts = iter(location)
    for part in parts:
        in_file += (part,)
        field = model.model_fields.get(part) if isinstance(part, str) else None
        choice = _choice(field.annotation, field.metadata) if field else None
        if field and choice:
            kind = next(parts, None)
            named = get_origin(field.annotation) is dict
            if kind is not None and (named or isinstance(kind, int)):
                in_file += (kind,)  # an item, by name or number: the kind follows it
                kind = next(parts, None)
            model = choice.classes.get(str(kind), model)
        elif field:
            model = _nested_model(field.annotation) or model
    return model, in_file


def _choice(annotation: Any, metadata: Iterable[Any] = ()) -> ByKind | None:
    """Return what chooses the class of a field, or of the values of a mapping; None for others."""
    found = (part for part in (*metadata, *get_args(annotation)) if isinstance(part, ByKind))
    inside = (_choice(part) for part in get_args(annotation))
    return next(itertools.chain(found, filter(None, inside)), None)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_nested_model, get_args(annotation))), None)


def _as_written(tree: Any, location: Location) -> Location:
    """Return a location without the place in its list of an item that the file has by itself."""
    written: Location = ()
    for part in location:
        if isinstance(part, int) and isinstance(tree, CommentedMap):
            continue
        written += (part,)
        tree = tree[part] if _has(tree, (part,)) else None
    return written


def _find(tree: Any, location: Location) -> tuple[int, Any]:
    """Return the 1-based line and the value of the deepest part of `location` in the file."""
    line, node = 1, tree
    for part in location:
        if not _has(node, (part,)):
            return line, None
        # A key merged in by `<<` has no place of its own: its mapping's stands.
        places = node.lc.data or {}
        line = places[part][0] + 1 if part in places else line
        node = node[part]
    return line, node


def _key_that_is_no_word(node: Any) -> tuple[int, str] | None:
    """Return the line of the first key that is no text, and what it is; None where all are."""
    if isinstance(node, CommentedMap):
        for key in node:
            if not isinstance(key, str):
                line, *_ = (node.lc.data or {}).get(key) or [node.lc.line]
                return line + 1, wording.kind_of(key)
    children = node.values() if isinstance(node, CommentedMap) else node
    if not isinstance(node, CommentedMap | CommentedSeq):
        return None
    return next(filter(None, map(_key_that_is_no_word, children)), None)


def _has(tree: Any, location: Location) -> bool:
    """Return whether the file has something at the location."""
    for part in location:
        if isinstance(tree, CommentedMap):
            if part not in tree:
                return False
        elif not (isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree)):
            return False
        tree = tree[part]
    return True


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
