"""The identity of a token dataset, known before it is built (no torch)."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

from workloads.data.config import DataConfig
from workloads.data.corpora.corpus import Corpus
from workloads.data.corpora.table import CORPORA
from workloads.data.manifest import FORMAT_VERSION
from workloads.data.tokenizers.table import load_tokenizer
from workloads.data.unchanged import remembered


def fingerprint(config: DataConfig) -> str:
    """Return 16 hex digits over all that decides the tokens of `config`, its documents included.

    The documents are read only when a file of the corpus, or the corpus's own code, has changed.
    """
    settings, corpus = text_settings(config), CORPORA[config.source]
    return remembered({"fingerprint": settings}, sources(corpus), lambda: _hash(settings, corpus))


def text_settings(config: DataConfig) -> dict[str, Any]:
    """Return all that decides the tokens of `config` beside the documents, JSON-ready."""
    file = config.tokenizer_file
    return {
        "format": FORMAT_VERSION,
        "source": config.source,
        "tokenizer": load_tokenizer(file).sha256 if file else config.tokenizer,
        "val_fraction": config.val_fraction,
    }


def sources(corpus: Corpus) -> list[Path]:
    """Return the files that decide the documents: those they come from, and the corpus's code."""
    return [Path(inspect.getfile(type(corpus))), *corpus.files()]


def _hash(settings: dict[str, Any], corpus: Corpus) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for document in corpus.documents():
        for part in (document.path.encode(), document.text.encode()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()[:16]
