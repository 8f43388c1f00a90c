"""How much text a dataset has, known before it is built (no torch)."""

from __future__ import annotations

from collections import Counter

from workloads.data.config import DataConfig
from workloads.data.corpora.table import CORPORA
from workloads.data.fingerprint import sources, text_settings
from workloads.data.manifest import SPLITS, SplitName, TextSize
from workloads.data.shards import require_documents, split_of
from workloads.data.tokenizers.table import load_tokenizer
from workloads.data.unchanged import remembered


def text_size(config: DataConfig) -> TextSize:
    """Return the size of the text of `config`. Raises DataError where a split has no document.

    The documents are read only when a file of the corpus, or the corpus's own code, has changed.
    """
    files = sources(CORPORA[config.source])
    counted = remembered({"tokens": text_settings(config)}, files, lambda: _count(config))
    train, val = map(int, counted.split())
    size = TextSize(load_tokenizer(config.tokenizer).vocab_size, train, val)
    for name in SPLITS:
        require_documents(config.source, name, config.val_fraction, size.tokens(name))
    return size


def _count(config: DataConfig) -> str:
    tokenizer, tokens = load_tokenizer(config.tokenizer), Counter[SplitName]()
    for document in CORPORA[config.source].documents():
        name = split_of(document.path, config.val_fraction)
        tokens[name] += tokenizer.encode(document.text).size + 1
    return f"{tokens['train']} {tokens['val']}"
