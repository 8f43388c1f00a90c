"""What text a run reads, and in which order: `data.json` in its directory.

It holds what the order follows from, so that `data seen` can say which documents a checkpoint has
seen. Paths are of the machine that trained last.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from kernels.files import read_bytes, write_atomically
from workloads.config.phases import text_step
from workloads.config.run import RunConfig
from workloads.data.dataset import OpenText
from workloads.errors import InputError

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
    write_atomically(run_dir / READING_FILE, reading.model_dump_json(indent=1) + "\n")


def read_reading(run_dir: Path) -> Reading:
    """Return what a run reads. Raises InputError where its directory does not say so."""
    path = run_dir / READING_FILE
    try:
        return Reading.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing: {run_dir} is no run's directory, or was trained before runs said "
            "what they read; name another, or train it again"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path}: {where}: {first['msg']}; train the run again") from None
