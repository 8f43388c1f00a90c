"""The schema of study files: it accepts what reads, refuses what is misspelt, and is explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from study.plan import planner
from study.spec.json_schema import study_schema
from tests.study.launching import ROOT, in_process

SPECS = ROOT / "study" / "specs"
SCHEMA = study_schema()
REFERENCE = (SPECS / "REFERENCE.md").read_text()
GOOD: dict[str, Any] = {
    "study": "a",
    "max_total_flops": 1e12,
    "grid": {"preset": ["pico"], "ffn": [{}]},
}


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of a study file with its schema, as `Grid.preset`."""
    for model, schema in {"StudySpec": SCHEMA, **SCHEMA["$defs"]}.items():
        for name, field in schema["properties"].items():
            yield f"{model}.{name}", field


def test_the_command_prints_a_valid_schema() -> None:
    printed = json.loads(in_process("schema").stdout)
    assert printed == json.loads(json.dumps(SCHEMA))
    Draft202012Validator.check_schema(printed)
    assert printed["$schema"] == Draft202012Validator.META_SCHEMA["$schema"]
    assert printed["title"] and printed["additionalProperties"] is False


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_spec_that_ships_is_valid(path: Path) -> None:
    Draft202012Validator(SCHEMA).validate(YAML(typ="safe").load(path))


@pytest.mark.parametrize(
    "change",
    [
        {"grid": {"prest": ["pico"], "ffn": [{}]}},
        {"grid": {"preset": ["pica"], "ffn": [{}]}},
        {"grid": {"preset": [], "ffn": [{}]}},
        {"grid": {"preset": ["pico"], "ffn": [{"kind": "lowrnk"}]}},
        {"grid": {"preset": ["pico"], "ffn": [{}], "seed": [True]}},
        {"grid": {"preset": ["pico"], "ffn": [{}], "seed": ["3"]}},
        {"budget": {"tokens": 0}},
        {"budget": {"isoflop": []}},
        {"budget": {"match_flops_of": "lowrank"}},
        {"exclude": [{"presett": "pico"}]},
        {"study": "Upper Case"},
        {"max_total_flops": "1e12"},
    ],
    ids=repr,
)
def test_what_does_not_read_is_not_valid(change: dict[str, Any]) -> None:
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(GOOD)
    assert not validator.is_valid(GOOD | change)


def test_every_key_is_described_to_editors_and_to_people() -> None:
    assert [key for key, field in fields() if not field["description"].endswith(".")] == []
    assert [key for key, _ in fields() if f"`{key.partition('.')[2]}`" not in REFERENCE] == []


def test_the_examples_of_the_reference_can_be_planned(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(study: .*?)```", REFERENCE, re.DOTALL)
    assert examples
    for text in examples:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        assert planner.load(path, tmp_path).points
        Draft202012Validator(SCHEMA).validate(YAML(typ="safe").load(text))
