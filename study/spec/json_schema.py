"""The JSON Schema of study files, with which editors complete and check them.

It is made from the models that read the files, and so cannot fall behind them. What depends on
several keys, such as the one unit of a budget, only reading the file checks.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from study.spec.study_file import StudySpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _WithoutTitles(GenerateJsonSchema):
    """Keys are their own titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def study_schema() -> dict[str, Any]:
    """The schema of a whole study file (draft 2020-12)."""
    schema = StudySpec.model_json_schema(schema_generator=_WithoutTitles)
    return {"$schema": DIALECT, **schema, "title": "structured-scaling study file"}
