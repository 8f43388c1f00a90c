"""Where the documents of a dataset come from: the file of each, and its row there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workloads.data.config import DataConfig
from workloads.data.corpora.table import CORPORA
from workloads.data.dataset import TokenFile
from workloads.data.fingerprint import fingerprint
from workloads.data.formats.opening import TokenData
from workloads.data.manifest import INPUT_ORIGIN, InputEntry, Manifest, SplitName
from workloads.data.shards import split_of

# Of a document of a split, by its number: its file, and its row there, counted from 1. None is not
# known; a document that is a whole file has no row.
Origin = Callable[[int], tuple[str | None, int | None]]


def origins(data: TokenData, split: SplitName) -> Origin:
    """Return what says where each document of a split comes from."""
    if data.own is None:
        return _unknown
    manifest, indexes = data.own.manifest, data.own.indexes
    if isinstance(manifest, Manifest):
        return _of_corpus(manifest, split)
    return _of_inputs(manifest.inputs, indexes[split].origins) if split in indexes else _unknown


def _unknown(document: int) -> tuple[None, None]:
    return None, None


def _of_inputs(inputs: Sequence[InputEntry], recorded: TokenFile) -> Origin:
    numbers = recorded.map()

    def origin(document: int) -> tuple[str, int | None]:
        number, row = divmod(int(numbers[document]), INPUT_ORIGIN)
        return inputs[number].name, row or None

    return origin


def _of_corpus(manifest: Manifest, split: SplitName) -> Origin:
    """Name the files of a bundled corpus, where this machine has the one that was read."""
    if manifest.source not in CORPORA:
        return _unknown
    config = DataConfig(
        source=manifest.source, tokenizer=manifest.tokenizer, val_fraction=manifest.val_fraction
    )
    if fingerprint(config) != manifest.fingerprint:
        return _unknown
    paths = [document.path for document in CORPORA[manifest.source].documents()]
    files = [path for path in paths if split_of(path, manifest.val_fraction) == split]
    return lambda document: (files[document], None)
