"""The last step of a preparation: the tokens of all finished units become one dataset."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernels.files import sync_folder, write_atomically
from workloads.data.manifest import (
    MANIFEST_FILE,
    SPLITS,
    Counts,
    DataError,
    InputEntry,
    PreparedManifest,
    PreparedSplit,
    ShardEntry,
    SplitName,
    TokenizerEntry,
    content_fingerprint,
    token_type,
)
from workloads.data.preparing.corpus import TokenizedCorpus
from workloads.data.preparing.parts import Finished, part_file
from workloads.data.preparing.pieces import Unit
from workloads.data.preparing.recipes.recipe import Target
from workloads.data.preparing.recipes.table import RECIPES
from workloads.data.preparing.splits import SplitWriter

NEW_FOLDER = ".new"  # in which a dataset is written, within the folder that it is for


@dataclass(frozen=True)
class Purpose:
    """What a dataset is to be, as its manifest states it.

    `inputs` have the name, the SHA-256 and the size of each file that can be read.
    """

    recipe: str
    tokenizer: TokenizerEntry
    text_field: str
    where: tuple[str, ...]
    val_fraction: float
    drop_duplicates: bool
    inputs: tuple[tuple[str, str, int], ...]
    skipped_files: int

    @classmethod
    def of(cls, manifest: PreparedManifest) -> Purpose:
        """Return the purpose that a dataset fulfils."""
        return cls(
            manifest.recipe,
            manifest.tokenizer,
            manifest.text_field,
            manifest.where,
            manifest.val_fraction,
            manifest.drop_duplicates,
            tuple((each.name, each.sha256, each.bytes) for each in manifest.inputs),
            manifest.counts.skipped_files,
        )


def assemble(
    out: Path,
    purpose: Purpose,
    units: Sequence[Unit],
    finished: Mapping[str, Finished],
    shard_tokens: int,
) -> PreparedManifest:
    """Write the dataset of these units, in order, to the folder `out`; return its manifest.

    It is written aside first, and takes the place of an earlier dataset as the last thing. Raises
    DataError where there is no document to train on, and DamagedPart.
    """
    recipe = RECIPES[purpose.recipe]
    dtype = token_type(purpose.tokenizer.vocab_size)
    numbers = {(name, sha256): at for at, (name, sha256, _) in enumerate(purpose.inputs)}
    corpus = TokenizedCorpus(units, finished, purpose.drop_duplicates, numbers)
    counts, documents = _counts(corpus, units, finished, purpose)
    if recipe.row_tokens:
        shard_tokens -= shard_tokens % recipe.row_tokens
    new = out / NEW_FOLDER
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        train, val = (
            SplitWriter(new, name, dtype, shard_tokens, recipe.row_tokens) for name in SPLITS
        )
        recipe.write(corpus, Target(train, val, new, dtype, purpose.val_fraction))
        splits: dict[SplitName, PreparedSplit] = {"train": train.finish(), "val": val.finish()}
        if not splits["train"].tokens:
            raise DataError(
                f"{out}: no document is left to train on, of {counts.documents} with text; add "
                "sources, or check --where and --val-fraction"
            )
        shards: dict[SplitName, tuple[ShardEntry, ...]] = {
            name: splits[name].shards for name in SPLITS
        }
        manifest = PreparedManifest(
            format=2,
            recipe=purpose.recipe,
            tokenizer=purpose.tokenizer,
            dtype=dtype,
            text_field=purpose.text_field,
            where=purpose.where,
            val_fraction=purpose.val_fraction,
            drop_duplicates=purpose.drop_duplicates,
            row_tokens=recipe.row_tokens,
            inputs=tuple(
                InputEntry(name=name, sha256=sha256, bytes=size, documents=documents[name, sha256])
                for name, sha256, size in purpose.inputs
            ),
            counts=counts,
            fingerprint=content_fingerprint(
                dtype, purpose.tokenizer.vocab_size, shards, recipe.row_tokens
            ),
            train=splits["train"],
            val=splits["val"],
        )
        _replace(out, new, manifest)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return manifest


def _counts(
    corpus: TokenizedCorpus,
    units: Sequence[Unit],
    finished: Mapping[str, Finished],
    purpose: Purpose,
) -> tuple[Counts, Counter[tuple[str, str]]]:
    """Count the documents, altogether and by the name and SHA-256 of their input."""
    total, by_input, longest = Counter[str](), Counter[tuple[str, str]](), 0
    for unit, found in zip(units, corpus.units(), strict=True):
        where = finished[unit.key]
        total["skipped"] += int(part_file(where.file).units["skipped"][where.place])
        total["documents"] += len(found.documents)
        by_input[unit.input.name, unit.sha256] += len(found.documents)
        if len(found.documents):
            total["bytes"] += int(found.documents["bytes"].sum())
            total["tokens"] += int(found.documents["tokens"].sum())
            longest = max(longest, int(found.documents["tokens"].max()))
    counts = Counts(
        documents=total["documents"],
        bytes=total["bytes"],
        tokens=total["tokens"],
        duplicates=corpus.num_repeats,
        dropped=corpus.num_repeats if purpose.drop_duplicates else 0,
        skipped=total["skipped"],
        skipped_files=purpose.skipped_files,
        longest_document=longest,
    )
    return counts, by_input


def _replace(out: Path, new: Path, manifest: PreparedManifest) -> None:
    """Move a new dataset to its place. Between the old manifest and the new one there is none, so
    that nobody takes a mixture of both for a dataset."""
    (out / MANIFEST_FILE).unlink(missing_ok=True)
    sync_folder(out)
    for name in SPLITS:
        for old in out.glob(f"{name}-*.bin"):
            old.unlink()
    for path in new.iterdir():
        path.replace(out / path.name)
    sync_folder(out)
    write_atomically(out / MANIFEST_FILE, manifest.model_dump_json(indent=2) + "\n", durable=True)
