"""The table of corpora: a corpus is one file beside this one and one row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from workloads.data.corpora.document import Document
from workloads.data.corpora.python_stdlib import python_stdlib

SOURCES: dict[str, Callable[[], Iterator[Document]]] = {"python-stdlib": python_stdlib}
