"""`flat`: one file a split, uint16 without a header: `train.bin` and `val.bin`.

What nanoGPT and llm-baselines read (github.com/epfml/llm-baselines, `src/data/slimpajama.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workloads.data.formats.format import (
    Format,
    Layout,
    Tokens,
    TokenStream,
    copy_tokens,
    plain_file,
    split_of_name,
)
from workloads.data.manifest import DataError, SplitName


class FlatFormat(Format):
    """One stream of tokens in each file. A folder holds at most one file a split."""

    name = "flat"

    def is_at(self, path: Path) -> bool:
        if path.is_dir():
            return any(path.glob("*.bin"))
        return path.is_file() and path.suffix == ".bin"

    def read(self, path: Path) -> Mapping[SplitName, TokenStream]:
        return {
            name: TokenStream((plain_file(file, "<u2"),))
            for name, file in one_file_a_split(path, "*.bin").items()
        }

    def dtype(self, vocab_size: int) -> str:
        return uint16_only(self.name, vocab_size)

    def stem(self, split: SplitName, prefix: str | None) -> str:
        return f"{prefix}-{split}" if prefix else split

    def write(self, tokens: Tokens, folder: Path, stem: str, layout: Layout) -> None:
        with (folder / f"{stem}.bin").open("wb") as file:
            copy_tokens(tokens, self.dtype(tokens.vocab_size), file)


def one_file_a_split(path: Path, pattern: str) -> dict[SplitName, Path]:
    """Return the file of each split: that at `path`, or those of a folder that match.

    The name of a file says its split; one alone may leave it out and counts as `train`. Raises
    DataError where names do not tell two files apart.
    """
    files = sorted(path.glob(pattern)) if path.is_dir() else [path]
    if len(files) == 1:
        return {split_of_name(files[0].stem) or "train": files[0]}
    found: dict[SplitName, Path] = {}
    for file in files:
        name = split_of_name(file.stem)
        if name is None or name in found:
            problem = f"of the {name} split, as {found[name].name} is" if name else "of no split"
            raise DataError(
                f"{file}: by its name it is {problem}; name one file, or keep the files of one "
                "dataset in a folder of their own"
            )
        found[name] = file
    return found


def uint16_only(name: str, vocab_size: int) -> str:
    """Return numpy's spelling of uint16. Raises DataError where the vocabulary needs more."""
    if vocab_size > 2**16:
        raise DataError(
            f"format {name} stores ids in 16 bits, and the vocabulary has {vocab_size} ids; export "
            "as litpkds or megatron, which have 32"
        )
    return "<u2"
