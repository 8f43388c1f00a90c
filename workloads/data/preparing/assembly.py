"""The last step of a preparation: the tokens of all finished units become one dataset."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernels.files import read_bytes, sync_folder, write_atomically
from workloads.data.manifest import (
    MANIFEST_FILE,
    SPLITS,
    TOKENIZER_FILE,
    Counts,
    DataError,
    InputEntry,
    PreparedManifest,
    PreparedSplit,
    ShardEntry,
    SplitName,
    TokenizerEntry,
    content_fingerprint,
    manifest_text,
    sealed,
    token_type,
)
from workloads.data.preparing.corpus import TokenizedCorpus
from workloads.data.preparing.parts import Finished, part_file
from workloads.data.preparing.pieces import Unit
from workloads.data.preparing.recipes.recipe import Target
from workloads.data.preparing.recipes.table import RECIPES
from workloads.data.preparing.sources import Input
from workloads.data.preparing.splits import SplitWriter
from workloads.data.shard_writer import DATASET_FILE
from workloads.data.tokenizers.table import TOKENIZERS

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
    inputs: Sequence[Input],
    units: Sequence[Unit],
    finished: Mapping[str, Finished],
    tokenizer: str,
    shard_tokens: int,
) -> PreparedManifest:
    """Write the dataset of these units, in order, to the folder `out`; return its manifest.

    `inputs` are those of the purpose, and `tokenizer` is a name or a path. The dataset is written
    aside first, and takes the place of an earlier one as the last thing. Raises DataError where
    there is no document to train on, and DamagedPart.
    """
    recipe = RECIPES[purpose.recipe]
    dtype = token_type(purpose.tokenizer.vocab_size)
    numbers = {each: at for at, each in enumerate(inputs)}
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
        manifest = sealed(
            PreparedManifest(
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
                    InputEntry(name=name, sha256=sha256, bytes=size, documents=documents[each])
                    for each, (name, sha256, size) in zip(inputs, purpose.inputs, strict=True)
                ),
                counts=counts,
                fingerprint=content_fingerprint(
                    dtype, purpose.tokenizer.vocab_size, shards, recipe.row_tokens
                ),
                train=splits["train"],
                val=splits["val"],
            )
        )
        _keep_tokenizer(tokenizer, purpose.tokenizer.sha256, new)
        _replace(out, new, manifest)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return manifest


def _counts(
    corpus: TokenizedCorpus,
    units: Sequence[Unit],
    finished: Mapping[str, Finished],
    purpose: Purpose,
) -> tuple[Counts, Counter[Input]]:
    """Count the documents, altogether and by their input."""
    total, by_input, longest = Counter[str](), Counter[Input](), 0
    for unit, found in zip(units, corpus.units(), strict=True):
        where = finished[unit.key]
        total["skipped"] += int(part_file(where.file).units["skipped"][where.place])
        total["documents"] += len(found.documents)
        by_input[unit.input] += len(found.documents)
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


def _keep_tokenizer(name: str, sha256: str, folder: Path) -> None:
    """Copy the tokenizer's file beside the shards, so that whoever has them can decode them."""
    if name not in TOKENIZERS:
        content = read_bytes(Path(name))
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"tokenizer {name}: its file has changed; run again")
        write_atomically(folder / TOKENIZER_FILE, content, durable=True)


def files_of_datasets(out: Path) -> list[Path]:
    """Return what is in a folder by the names of the files that datasets consist of."""
    return [
        path
        for path in sorted(out.glob("*"))
        if path.name == TOKENIZER_FILE or DATASET_FILE.fullmatch(path.name)
    ]


def _replace(out: Path, new: Path, manifest: PreparedManifest) -> None:
    """Move a new dataset to its place. Between the old manifest and the new one there is none:
    nobody takes a mixture of both for a dataset, since shards without one are refused."""
    (out / MANIFEST_FILE).unlink(missing_ok=True)
    sync_folder(out)
    for old in files_of_datasets(out):
        if not (new / old.name).exists():
            old.unlink()
    for path in new.iterdir():
        path.replace(out / path.name)
    sync_folder(out)
    write_atomically(out / MANIFEST_FILE, manifest_text(manifest), durable=True)
