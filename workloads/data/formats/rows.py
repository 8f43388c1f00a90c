"""`rows`: one file a split, uint16 without a header, of shape (n, 1025): rows that a sequence never
leaves.

What the paper's public code reads, as `llama-train-tmp.bin` and `llama-val-tmp.bin`
(github.com/CLAIRE-Labo/StructuredFFN): inputs are a row without its last token, targets a row
without its first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workloads.data.formats.flat import one_file_a_split, uint16_only
from workloads.data.formats.format import (
    Format,
    Layout,
    Tokens,
    TokenStream,
    copy_tokens,
    plain_file,
)
from workloads.data.manifest import DataError, SplitName

ROW_TOKENS = 1025
PATTERN = "*-tmp.bin"


class RowsFormat(Format):
    """Rows of `row_tokens` tokens; the last tokens of a stream that fill no row are dropped."""

    name = "rows"
    options = frozenset({"prefix", "block"})

    def __init__(self, row_tokens: int = ROW_TOKENS) -> None:
        self.row_tokens = row_tokens

    def is_at(self, path: Path) -> bool:
        return any(path.glob(PATTERN)) if path.is_dir() else path.match(PATTERN)

    def read(self, path: Path) -> Mapping[SplitName, TokenStream]:
        return {name: self._stream(file) for name, file in one_file_a_split(path, PATTERN).items()}

    def _stream(self, path: Path) -> TokenStream:
        file = plain_file(path, "<u2")
        rows, rest = divmod(file.tokens, self.row_tokens)
        if rest:
            raise DataError(
                f"{path}: {file.tokens} tokens are {rows} rows of {self.row_tokens} and {rest} "
                f"tokens from byte {(file.tokens - rest) * 2} on; copy the file again, whole, or "
                "say how long its rows are"
            )
        return TokenStream((file,), row_tokens=self.row_tokens)

    def dtype(self, vocab_size: int) -> str:
        return uint16_only(self.name, vocab_size)

    def stem(self, split: SplitName, prefix: str | None) -> str:
        return f"{prefix or 'llama'}-{split}-tmp"

    def write(self, tokens: Tokens, folder: Path, stem: str, layout: Layout) -> str | None:
        row_tokens = layout.block or self.row_tokens
        kept = tokens.count // row_tokens * row_tokens
        if not kept:
            raise DataError(
                f"{tokens.count} tokens fill no row of {row_tokens}; give a smaller --block"
            )
        with (folder / f"{stem}.bin").open("wb") as file:
            copy_tokens(tokens, self.dtype(tokens.vocab_size), file)
            file.truncate(kept * 2)
        if not (left := tokens.count - kept):
            return None
        return f"the last {left:,} of {tokens.count:,} tokens fill no row and are left out"
