"""`python -m workloads data prepare` as a function: any text becomes a dataset, once and exactly.

1. The sources are listed, and each input is read once for its hash and its units (`plan`).
2. Units that no part file in `OUT/parts` has are tokenized, in any order, on any processes or
   machines: `tokenize_piece` is all that they do (`parts`).
3. The dataset is assembled from the part files, in the order of the inputs (`assembly`).

So a second run redoes nothing that is finished, a file that is added is the only one to be
tokenized, and the dataset does not depend on who did the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from kernels.files import naming
from workloads.data.manifest import (
    MANIFEST_FILE,
    TOKENIZER_FILE,
    DataError,
    Manifest,
    PreparedManifest,
    read_manifest,
)
from workloads.data.preparing.assembly import Purpose, assemble, files_of_datasets
from workloads.data.preparing.parts import (
    DamagedPart,
    Finished,
    find_finished,
    part_file,
    tokenize_piece,
)
from workloads.data.preparing.pieces import pieces_of
from workloads.data.preparing.plan import Plan, Request, Watcher, plan_pieces
from workloads.data.preparing.processes import MapFunction
from workloads.data.shard_writer import MAX_SHARD_TOKENS
from workloads.data.shards import check_hashes, open_dataset
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
    with exclusive(request.out, PATIENCE_SECONDS), naming(request.out):
        earlier = _earlier(request.out)
        serves = earlier and (request.skip_bad or not earlier.counts.skipped)
        if earlier and serves and _fulfils(earlier, plan):
            return earlier
        _require_free(request)
        if earlier and not _fulfils(earlier, plan):
            watcher.replacing(earlier)
        parts_dir = request.out / PARTS_FOLDER
        for leftover in parts_dir.glob(".*.tmp"):  # of processes that were killed
            leftover.unlink()
        while True:
            try:
                finished = run(plan, parts_dir, request.skip_bad, map_function, watcher)
                watcher.assembling()
                return assemble(
                    request.out,
                    plan.purpose,
                    plan.inputs,
                    plan.units,
                    finished,
                    plan.settings.tokenizer,
                    MAX_SHARD_TOKENS,
                )
            except DamagedPart as damaged:
                damaged.path.unlink(missing_ok=True)
            finally:
                part_file.cache_clear()


def run(
    plan: Plan, parts_dir: Path, skip_bad: bool, map_function: MapFunction, watcher: Watcher
) -> Mapping[str, Finished]:
    """Tokenize the units that are not finished; return where all are, by key.

    Raises DataError at a row that cannot be used, unless `skip_bad` has it left out, and where an
    input changes meanwhile. Raises DamagedPart.
    """
    finished = find_finished(parts_dir, plan.units, skip_bad)
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
    return find_finished(parts_dir, plan.units, skip_bad)


def _fulfils(earlier: PreparedManifest, plan: Plan) -> bool:
    """Return whether a dataset is what is planned, with its inputs named as now or, as earlier
    versions did, each by its name within its source."""
    found, planned = Purpose.of(earlier), plan.purpose
    pairs = zip(plan.inputs, planned.inputs, strict=True)
    plain = tuple((each.name, *rest) for each, (_, *rest) in pairs)
    # Those took equal files of one name for one input.
    as_before = len(set(plain)) == len(plain) and found == replace(planned, inputs=plain)
    return found == planned or as_before


def _require_free(request: Request) -> None:
    """Raise DataError where files of others would have to make room for the dataset's."""
    out = request.out
    if (out / PARTS_FOLDER).exists() or _is_manifest(out):
        return
    for path in files_of_datasets(out):
        own = path.name == TOKENIZER_FILE and Path(request.tokenizer)
        if not (own and own.exists() and path.samefile(own)):
            raise DataError(
                f"{path}: is there, and not of a dataset that was prepared here; move it away, or "
                "choose another --out"
            )


def _is_manifest(out: Path) -> bool:
    try:
        read_manifest(out)
    except DataError:
        return False
    return True


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
