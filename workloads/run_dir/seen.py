"""Which documents a run had seen after a step, from what its directory says that it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workloads.data.dataset import MixedSplit, TokenSplit
from workloads.data.formats.opening import (
    TokenData,
    is_anything_at,
    read_path,
    train_sha256,
)
from workloads.data.formats.origins import origins
from workloads.data.progress import progress
from workloads.data.seen import SourceReads, count_reads
from workloads.errors import InputError
from workloads.run_dir.paths import CHECKPOINT_FOLDER, RESULT_FILE, saved_steps
from workloads.run_dir.reading import Reading, Source, read_reading

STEPS_AT_A_TIME = 100


@dataclass(frozen=True)
class SourceSeen:
    """What was read of one text. `tokens` are those trained on, counted each time, and `passes`
    those over the windows' tokens. Documents are None where the format does not say where they
    begin."""

    source: str
    path: str
    format: str
    tokens: int
    passes: float
    windows: int
    windows_seen: int
    documents: int | None
    documents_seen: int | None


@dataclass(frozen=True)
class DocumentSeen:
    """A document of which a token was read. It is counted from 0 in the training split; `file` and
    `row` are None where the dataset does not know them.

    `length` are its tokens; `tokens` those that were targets, counted each time; `passes` the one
    over the other; `windows` how many sequences read a part of it.
    """

    source: str
    document: int
    file: str | None
    row: int | None
    length: int
    tokens: int
    passes: float
    windows: int


class Seen:
    """What the run in a directory had read after `step` steps, by default all that are recorded.

    Raises InputError where the run or its text is not at hand, or has not so many steps.
    """

    def __init__(self, run_dir: Path, step: int | None = None) -> None:
        reading = read_reading(run_dir)
        self.step = _recorded_step(run_dir) if step is None else step
        self.steps = reading.total_steps
        if self.step > self.steps:
            raise InputError(f"step {self.step}: {run_dir} has {self.steps}; choose one of them")
        self._texts = {name: _text(source) for name, source in reading.sources.items()}
        self._reads = _reads(reading, self._texts, self.step)

    def sources(self) -> list[SourceSeen]:
        return [self._source(name) for name in self._texts]

    def documents(self) -> Iterator[DocumentSeen]:
        """Yield the documents that were seen, in the order of the sources and of their tokens."""
        for name, reads in self._reads.items():
            origin = origins(self._texts[name], "train")
            for block in reads.documents():
                for index in block.windows.nonzero()[0].tolist():
                    length, tokens = int(block.length[index]), int(block.tokens[index])
                    document = block.first + index
                    yield DocumentSeen(
                        name,
                        document,
                        *origin(document),
                        length=length,
                        tokens=tokens,
                        passes=tokens / length,
                        windows=int(block.windows[index]),
                    )

    def _source(self, name: str) -> SourceSeen:
        text, reads = self._texts[name], self._reads[name]
        known = reads.stream.documents if reads.knows_documents else None
        return SourceSeen(
            name,
            str(text.path),
            text.format,
            reads.tokens,
            reads.passes,
            windows=reads.counts.size,
            windows_seen=int((reads.counts > 0).sum()),
            documents=known and known.count,
            documents_seen=known
            and sum(int((block.windows > 0).sum()) for block in reads.documents()),
        )


def _recorded_step(run_dir: Path) -> int:
    """Return the step at which the run ended, or of its newest checkpoint."""
    if (run_dir / RESULT_FILE).exists():
        return json.loads((run_dir / RESULT_FILE).read_text(encoding="utf-8"))["step"]
    steps = saved_steps(run_dir / CHECKPOINT_FOLDER)
    if not steps:
        raise InputError(f"{run_dir}: no result and no checkpoint; say after which step: --step")
    return steps[0]


def _text(source: Source) -> TokenData:
    """Return the text that the run read. Raises InputError where another one is in its place."""
    if not is_anything_at(source.path):
        raise InputError(f"{source.path}: missing: the run read this text; put it back")
    data = read_path(source.path, source.row_tokens)
    if not _is_it(data, source):
        raise InputError(
            f"{source.path}: not the text that the run read, whose fingerprint is "
            f"{source.fingerprint}; put that one back"
        )
    return data


def _is_it(data: TokenData, source: Source) -> bool:
    """Return whether data holds the training tokens that a run read."""
    if "train" not in data.streams or data.streams["train"].tokens != source.tokens:
        return False
    if source.train_sha256:
        return train_sha256(data) == source.train_sha256
    return not data.own or data.own.dataset.fingerprint == source.fingerprint


def _reads(reading: Reading, texts: dict[str, TokenData], last: int) -> dict[str, SourceReads]:
    """Count the reads of every window in the first `last` steps."""
    # Imported late so that --help and errors do not wait for torch.
    from workloads.data.loader import BatchLoader

    streams = {name: text.streams["train"] for name, text in texts.items()}
    splits = {
        name: TokenSplit(
            "train", texts[name].path, tuple(f.map() for f in stream.files), stream.row_tokens
        )
        for name, stream in streams.items()
    }
    loader = BatchLoader(
        MixedSplit(splits, reading.weights), reading.block_size, reading.batch_size, reading.seed
    )
    reads = {name: SourceReads(stream, reading.block_size) for name, stream in streams.items()}
    with progress("counting steps", last) as count:
        for first in range(0, last, STEPS_AT_A_TIME):
            steps = range(first, min(first + STEPS_AT_A_TIME, last))
            count_reads(loader, (reading.text_step(step) for step in steps), reads)
            count(len(steps))
    return reads
