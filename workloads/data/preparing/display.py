"""What people see of a preparation: its progress on stderr, and a summary at its end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from workloads.data.manifest import PreparedManifest
from workloads.data.preparing.parts import PartEntry

SHOWN_EVERY = 10.0  # seconds between lines, where they do not replace one another
PROBLEMS_SHOWN = 10


class Progress:
    """The watcher that writes to stderr: one line that is renewed, or a line now and then."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._problems = 0
        self._begun = self._shown = time.monotonic()
        self._left = self._done = self._tokens = 0

    def scanning(self, inputs: int, size: int) -> None:
        self._line(f"files: {inputs:,}, of {size / 1e6:,.1f} MB; reading those that are new")

    def skipped(self, problem: str) -> None:
        self._problems += 1
        if self._problems <= PROBLEMS_SHOWN:
            self._line(f"left out: {problem}")
        elif self._problems == PROBLEMS_SHOWN + 1:
            self._line("and more, which the summary counts")

    def tokenizing(self, finished: int, left: int) -> None:
        kept = f"; {finished / 1e6:,.1f} MB are finished already" if finished else ""
        self._line(f"tokenizing {left / 1e6:,.1f} MB of files, decompressed{kept}")
        self._begun = self._shown = time.monotonic()
        self._left, self._done, self._tokens = left, 0, 0

    def tokenized(self, part: PartEntry) -> None:
        self._done += part.text_bytes
        self._tokens += part.tokens
        now = time.monotonic()
        if self._live or now - self._shown >= SHOWN_EVERY:
            self._shown = now
            self._line(self._state(now - self._begun), end="\r" if self._live else "\n")

    def replacing(self, earlier: PreparedManifest) -> None:
        self._line(
            f"replaces the dataset {earlier.fingerprint} of tokenizer {earlier.tokenizer.name}, "
            f"{earlier.counts.tokens:,} tokens"
        )

    def assembling(self) -> None:
        self._line("writing shards")

    def _state(self, seconds: float) -> str:
        share = self._done / max(self._left, 1)
        rest = seconds / share * (1 - share) if share else 0
        return (
            f"{share:.0%} of {self._left / 1e6:,.1f} MB, {self._tokens / seconds:,.0f} tokens/s, "
            f"about {_duration(rest)} left"
        )

    def _line(self, text: str, end: str = "\n") -> None:
        clear = "\x1b[2K" if self._live else ""
        print(f"{clear}{text}", file=sys.stderr, end=end, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def facts(manifest: PreparedManifest) -> dict[str, Any]:
    """Return the summary of a dataset, JSON-ready."""
    counts = manifest.counts
    return {
        "fingerprint": manifest.fingerprint,
        "recipe": manifest.recipe,
        "tokenizer": manifest.tokenizer.name,
        "vocab_size": manifest.vocab_size,
        "files": len(manifest.inputs),
        **counts.model_dump(),
        "bytes_per_token": counts.bytes / counts.tokens,
        "train_tokens": manifest.train.tokens,
        "val_tokens": manifest.val.tokens,
    }


def summary(manifest: PreparedManifest, out: Path) -> str:
    """Return the summary of the dataset in `out`, for people."""
    found = facts(manifest)
    kept = ", kept; --drop-duplicates leaves them out"
    if manifest.drop_duplicates or not found["duplicates"]:
        kept = ""
    left_out = [
        f"{found['dropped']:,} duplicates dropped" if manifest.drop_duplicates else "",
        f"{found['skipped']:,} rows left out" if found["skipped"] else "",
        f"{found['skipped_files']:,} files left out" if found["skipped_files"] else "",
    ]
    lines = [
        f"{out}: {found['recipe']} recipe, fingerprint {found['fingerprint']}",
        f"files         {found['files']:,}",
        f"documents     {found['documents']:,}",
        f"tokens        {found['tokens']:,} ({found['bytes_per_token']:.3f} bytes a token)",
        f"duplicates    {found['duplicates']:,}{kept}",
        f"longest       {found['longest_document']:,} tokens",
        f"train, val    {found['train_tokens']:,} and {found['val_tokens']:,} tokens",
    ]
    if notes := ", ".join(note for note in left_out if note):
        lines.append(f"left out      {notes}")
    if not manifest.val.tokens:
        lines.append(
            "caution: no tokens for validation, without which no run trains on it: raise "
            "--val-fraction, or name another text as `val`"
        )
    return "\n".join(lines)
