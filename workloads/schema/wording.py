"""What is wrong with a value, in the words of the YAML file that it stands in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic_core import ErrorDetails
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver

from workloads.schema.known_names import suggestion

LONGEST_SHOWN = 80


def message(detail: ErrorDetails, keys: Sequence[str]) -> str:
    """Return what one of pydantic's errors says, and what to write instead.

    `keys` are those that the mapping in question knows.
    """
    kind, given, limits = detail["type"], detail["input"], detail.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return f"no such key; {suggestion(str(detail['loc'][-1]), keys)}"
        case "missing" if lacks_an_item(detail):
            return f"this list is too short, with {len(given)} of its items; add what is missing"
        case "missing":
            return "this key is required; add it"
        case "literal_error" if not _quoted(limits["expected"]):  # one that is no text
            return f"not a known value; write {limits['expected'].lower()}"
        case "literal_error":
            return f"not a known value; {suggestion(_word(given), _quoted(limits['expected']))}"
        case "union_tag_invalid":
            kinds = _quoted(limits["expected_tags"])
            return f"not a known value; {suggestion(limits['tag'], kinds)}"
        case "model_type" | "dict_type" | "model_attributes_type":
            known = f"its keys are {', '.join(keys)}" if keys else "write KEY: VALUE"
            return f"this should be a mapping; {known}"
        case "tuple_type" if isinstance(given, str | int | float):
            return f"this should be a list; write [{_word(given)}]"
        case "tuple_type":
            return "this should be a list; put its items in [ ]"
        case "too_short":
            least = limits["min_length"]
            return f"this list needs {least} item{'s' if least > 1 else ''} or more; add to it"
        case "too_long":
            return f"this list takes {limits['max_length']} items or fewer; remove some"
        case "bool_type":
            return "this should be a valid boolean; write true or false"
        case "int_type" | "float_type" if isinstance(given, str):
            hint = _as_number(given, whole=kind == "int_type")
            return f"{_start(detail)}; {hint or 'change it'}"
        case "string_type" if isinstance(given, int | float | date):
            return f"{_start(detail)}; write it in quotes"
        case "greater_than":
            return f"must be greater than {_digits(limits['gt'])}; raise it"
        case "greater_than_equal":
            return f"must be at least {_digits(limits['ge'])}; raise it"
        case "less_than":
            return f"must be less than {_digits(limits['lt'])}; lower it"
        case "less_than_equal":
            return f"must be at most {_digits(limits['le'])}; lower it"
        case "string_too_long":
            return f"has more than {limits['max_length']} characters; shorten it"
    return f"{_start(detail)}; change it"


def lacks_an_item(detail: ErrorDetails) -> bool:
    """Return whether an error names the item that a list lacks."""
    return detail["type"] == "missing" and isinstance(detail["loc"][-1], int)


def kind_of(given: Any) -> str:
    """Return what stands in a YAML file: a list, a mapping, or the scalar itself."""
    if isinstance(given, Mapping):
        return "a mapping"
    return "a list" if isinstance(given, Sequence) else _word(given)


def value(given: Any) -> str:
    """Return ` = VALUE` for a scalar, shortened where it is long; nothing for anything else."""
    if isinstance(given, dict | list) or given is None:
        return ""
    shown = repr(given) if isinstance(given, str) else _word(given)
    return f" = {shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + '...'}"


def _start(detail: ErrorDetails) -> str:
    return detail["msg"].replace("Input should", "this should", 1)


def _digits(limit: float) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _word(given: Any) -> str:
    """Return a scalar as YAML writes it."""
    words: dict[Any, str] = {None: "null", True: "true", False: "false"}
    return words[given] if given is None or isinstance(given, bool) else str(given)


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _as_number(text: str, whole: bool) -> str | None:
    """Return how to write the number that a text means, None where it means none that will do.

    YAML knows fewer forms of numbers than Python does.
    """
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number) or (whole and not number.is_integer()):
        return None
    tag = str(VersionedResolver().resolve(ScalarNode, text, (True, False)))
    bare = tag.endswith((":int", ":float"))
    return "write it without quotes" if bare else f"write {number:.17g}"
