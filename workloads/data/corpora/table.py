"""The table of corpora: a corpus is one file beside this one and one row here."""

from __future__ import annotations

from workloads.data.corpora.corpus import Corpus
from workloads.data.corpora.python_stdlib import PYTHON_STDLIB

CORPORA: dict[str, Corpus] = {"python-stdlib": PYTHON_STDLIB}
