"""`python -m workloads data prepare` as a function: any text becomes a dataset, once and exactly.

1. The sources are listed, and each input is read once for its hash and its units (`plan`).
2. Units that no part file in `OUT/parts` has are tokenized, in any order, on any processes or
   machines: `tokenize_piece` is all that they do (`parts`).
3. The dataset is assembled from the part files, in the order of the inputs (`assembly`).

So a second run redoes nothing that is finished, a file that is added is the only one to be
tokenized, and the dataset does not depend on who did the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kernels.files import read_bytes, write_atomically
from workloads.data.manifest import (
    MANIFEST_FILE,
    TOKENIZER_FILE,
    DataError,
    Manifest,
    PreparedManifest,
    read_manifest,
)
from workloads.data.preparing.assembly import Purpose, assemble
from workloads.data.preparing.parts import (
    DamagedPart,
    Finished,
    PartFile,
    find_finished,
    part_file,
    tokenize_piece,
)
from workloads.data.preparing.pieces import Unit, pieces_of
from workloads.data.preparing.plan import Plan, Request, Watcher, plan_pieces
from workloads.data.preparing.processes import MapFunction
from workloads.data.preparing.sources import current_state
from workloads.data.shard_writer import MAX_SHARD_TOKENS
from workloads.data.shards import check_hashes, open_dataset
from workloads.data.tokenizers.table import TOKENIZERS
from workloads.files import exclusive

PARTS_FOLDER = "parts"
PATIENCE_SECONDS = 5.0  # for the end of a preparation that was stopped


def prepare(request: Request, map_function: MapFunction, watcher: Watcher) -> PreparedManifest:
    """Have the dataset of a request in its folder, and return its manifest.

    `map_function` carries the work out; it decides nothing of the result. What is finished is kept
    when this ends early. Raises DataError where a source, a row, the tokenizer or the request
    cannot be used.
    """
    plan = plan_pieces(request, map_function, watcher)
    with exclusive(request.out, PATIENCE_SECONDS), _named(request.out):
        earlier = _earlier(request.out)
        serves = earlier and (request.skip_bad or not earlier.counts.skipped)
        if earlier and serves and Purpose.of(earlier) == plan.purpose:
            return earlier
        if earlier and Purpose.of(earlier) != plan.purpose:
            watcher.replacing(earlier)
        parts_dir = request.out / PARTS_FOLDER
        for leftover in parts_dir.glob(".*.tmp"):  # of processes that were killed
            leftover.unlink()
        while True:
            try:
                finished = run(plan, parts_dir, request.skip_bad, map_function, watcher)
                watcher.assembling()
                _keep_tokenizer(plan.settings.tokenizer, request.out)
                purpose = plan.purpose
                return assemble(request.out, purpose, plan.units, finished, MAX_SHARD_TOKENS)
            except DamagedPart as damaged:
                damaged.path.unlink(missing_ok=True)
            finally:
                part_file.cache_clear()


@contextmanager
def _named(out: Path) -> Iterator[None]:
    """Have errors of writing, such as that of a full disk, name the folder that is written to."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(out)) from error


def run(
    plan: Plan, parts_dir: Path, skip_bad: bool, map_function: MapFunction, watcher: Watcher
) -> Mapping[str, Finished]:
    """Tokenize the units that are not finished; return where all are, by key.

    Raises DataError at a row that cannot be used, unless `skip_bad` has it left out, and where an
    input changes meanwhile. Raises DamagedPart.
    """
    finished = find_finished(parts_dir, plan.units)
    left = {unit.key: unit for unit in plan.units if unit.key not in finished}
    pieces = pieces_of(left.values())
    size = sum(unit.range.text_bytes for unit in left.values())
    kept = sum(unit.range.text_bytes for unit in plan.units if unit.key in finished)
    watcher.tokenizing(kept, size)
    work = partial(tokenize_piece, settings=plan.settings, parts_dir=parts_dir, skip_bad=skip_bad)
    for part in map_function(work, pieces):
        if part.problem:
            watcher.skipped(part.problem)
        watcher.tokenized(part)
    finished = find_finished(parts_dir, plan.units)
    _require_unchanged(left.values(), finished)
    if not skip_bad:
        for file in sorted({finished[unit.key].file for unit in plan.units}):
            if problem := PartFile(file).problem:
                raise DataError(problem)
    return finished


def _require_unchanged(units: Iterable[Unit], finished: Mapping[str, Finished]) -> None:
    """Raise DataError where an input is not as it was scanned; what was made of it is removed."""
    changed = {each for each in {unit.input for unit in units} if current_state(each) != each.state}
    for unit in units:
        if unit.input in changed:
            finished[unit.key].file.unlink(missing_ok=True)
    for each in changed:
        raise DataError(f"{each.path}: changed while it was read; run again when it is complete")


def _keep_tokenizer(name: str, out: Path) -> None:
    """Copy the tokenizer's file beside the shards, so that whoever has them can decode them."""
    copy = out / TOKENIZER_FILE
    if name in TOKENIZERS:
        copy.unlink(missing_ok=True)
    else:
        write_atomically(copy, read_bytes(Path(name)), durable=True)


def _earlier(out: Path) -> PreparedManifest | None:
    """Return the manifest of the dataset in `out`, if there is one and it is whole.

    Raises DataError where the folder is of a bundled corpus.
    """
    if not (out / MANIFEST_FILE).exists():
        return None
    try:
        manifest = read_manifest(out)
        open_dataset(out)
        check_hashes(out)
    except DataError:
        return None
    if isinstance(manifest, Manifest):
        raise DataError(f"{out}: holds the dataset of {manifest.source}; choose another --out")
    return manifest
