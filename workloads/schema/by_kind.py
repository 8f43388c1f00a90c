"""A field whose class is chosen by what is written, most often by the key `kind`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from workloads.schema.base import Config


class ByKind:
    """Annotation of a field that holds one of several classes, each known by its `kind`.

    Where no `kind` is written, the first class is meant: it is the one that the field had before
    there were others. Where classes have no such key, `kind_of` returns the kind of a configuration
    or of what is written.
    """

    def __init__(
        self,
        classes: Mapping[str, type[Config]],
        kind_of: Callable[[Any], str] | None = None,
    ) -> None:
        self.classes, self._kind_of = classes, kind_of

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        choices = {kind: handler.generate_schema(each) for kind, each in self.classes.items()}
        kind_of = self._kind_of or self._kind
        return core_schema.tagged_union_schema(choices, discriminator=kind_of)

    def _kind(self, value: Any) -> Any:
        """Return the kind of a configuration, or of the mapping that it is written as."""
        if isinstance(value, Config):
            return getattr(value, "kind", None)
        default = next(iter(self.classes))
        kind = value.get("kind", default) if isinstance(value, Mapping) else default
        return "null" if kind is None else kind
