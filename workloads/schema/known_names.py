"""Names that must be known: what an error about another name suggests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from kernels.nearest import nearest_name


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the part of an error that names the nearest and all known names."""
    names = list(known)
    return f"the nearest is {nearest_name(name, names)} (of {', '.join(names)})"


@dataclass(frozen=True, eq=False)
class OneOf:
    """Pydantic annotation of a text that must be a name of `table`, as in
    `Annotated[str, OneOf(PRESETS, "preset")]`. `what` says in errors what the names are of, which
    also suggest those `elsewhere`, names that make the field's class another one.

    The JSON Schema lists the names.
    """

    table: Mapping[str, Any]
    what: str
    elsewhere: Collection[str] = ()

    def check(self, name: Any) -> Any:
        """Return the name, or what is no scalar. Raises ValueError where the table has none such.

        A number is no name either: to write it in quotes would help nobody.
        """
        if isinstance(name, str | int | float) and name not in self.table:
            known = suggestion(str(name), [*self.table, *self.elsewhere])
            raise ValueError(f"no such {self.what}; {known}")
        return name

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.table)}
