"""What text a run reads, and in which order: `data.json` in its directory.

It holds what the order follows from, so that `data seen` can say which documents a checkpoint has
seen. Paths are of the machine that trained last.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workloads.config.phases import text_step
from workloads.config.run import RunConfig
from workloads.data.dataset import OpenText
from workloads.run_dir.record import read_record, write_record

READING_FILE = "data.json"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Entry):
    """A text of the run; `tokens` are those of its training split, and `train_sha256` is of them.

    Runs that were recorded before it was have None."""

    path: Path
    fingerprint: str
    tokens: int
    row_tokens: int | None
    train_sha256: str | None = None


class Reading(_Entry):
    """All that decides which window of which source a step reads.

    Steps beyond `steps` read the first text again, and from each of `text_starts` on the text is
    read from its start. A run on one text has one source, with an empty name and a weight of 1.
    """

    seed: int
    batch_size: int
    block_size: int
    steps: int
    total_steps: int
    sources: dict[str, Source]
    weights: dict[str, float]
    text_starts: tuple[int, ...] = ()

    def text_step(self, step: int) -> int:
        """Return the step of the text's order that the 0-based optimizer `step` reads."""
        return text_step(step, self.steps, self.text_starts)


def record_reading(run_dir: Path, config: RunConfig, text: OpenText) -> None:
    """Write what a run reads into its directory."""
    sources = {
        name: Source(
            path=dataset.directory.absolute(),
            fingerprint=dataset.fingerprint,
            tokens=dataset.size.train_tokens,
            row_tokens=dataset.row_tokens,
            train_sha256=dataset.train_sha256,
        )
        for name, dataset in text.sources.items()
    }
    reading = Reading(
        seed=config.seed,
        batch_size=config.batch_size,
        block_size=config.model.block_size,
        steps=config.steps,
        total_steps=config.total_steps,
        sources=sources,
        weights=dict(text.weights),
        text_starts=config.text_starts,
    )
    write_record(run_dir / READING_FILE, reading)


def read_reading(run_dir: Path) -> Reading:
    """Return what a run reads. Raises InputError where its directory does not say so."""
    missing = "runs said what they read; name another, or train it again"
    return read_record(run_dir / READING_FILE, Reading, missing)
