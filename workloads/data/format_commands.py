"""The commands of `data` on token data that exists, in any format: inspect, verify, export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from workloads.data.formats.exporting import export as write_export
from workloads.data.formats.format import Layout
from workloads.data.formats.inspecting import inspect as facts_of
from workloads.data.formats.opening import TokenData, read_path
from workloads.data.formats.own import part_of_dataset
from workloads.data.formats.table import FORMATS
from workloads.data.formats.verifying import verify as read_all
from workloads.data.manifest import DataError, SplitName
from workloads.data.progress import progress

DataPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="A folder, a file, or what the names of a format's files begin with."
    ),
]
RowTokens = Annotated[
    int | None,
    typer.Option("--block", min=2, help="Format rows: tokens of a row where it is not 1025."),
]


def inspect(
    path: DataPath,
    block: RowTokens = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show what token data holds: its format, tokens, documents, ids, and samples of its text.

    \b
    Example: python -m workloads data inspect runs/data/web --json

    Reads datasets of `data prepare` and the formats rows, litpkds, flat and megatron. The files are
    read once for their greatest id, in bounded memory; as long as they do not change, the next
    command knows it. Documents are counted where the format says where they begin, and text is
    shown where the tokenizer is known. Exit code 2 when the files cannot be read.
    """
    data = _found(path, block)
    with progress("reading", _bytes(data)) as count:
        facts = facts_of(data, count)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    for line in _lines(facts):
        typer.echo(line)


def verify(
    path: DataPath,
    vocab: Annotated[
        int | None,
        typer.Option(min=1, help="Ids of the vocabulary; left out, that of the manifest."),
    ] = None,
    block: RowTokens = None,
) -> None:
    """Check token data from the first byte to the last.

    \b
    Example: python -m workloads data verify runs/data/web
             python -m workloads data verify train.bin --vocab 50257

    Compares the files with what their headers, index or manifest say: sizes, SHA-256 where a
    manifest has it, its own included, where documents begin, and ids below the vocabulary where
    that is known. Exit code 0 when all is sound, 2 at the first thing that is not, with the file
    and the place.
    """
    data = _found(path, block)
    with progress("verifying", _bytes(data)) as count:
        found = read_all(data, vocab, count)
    hashes = f"the SHA-256 of {found.hashed} compared" if found.hashed else "no SHA-256 to compare"
    below = f", all below {found.vocab_size:,}" if found.vocab_size else ""
    typer.echo(
        f"{path}: sound: format {data.format}, {found.tokens:,} tokens in {found.files} files, "
        f"{hashes}; the greatest id is {found.max_id:,}{below}"
    )
    if found.gap:
        typer.echo(f"caution: {found.gap}")


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A dataset of `data prepare`, or other data.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write into.")],
    format: Annotated[
        Literal["rows", "litpkds", "flat", "megatron"], typer.Option(help="What to write.")
    ],
    split: Annotated[
        SplitName | None, typer.Option(help="Which split; left out, every one there is.")
    ] = None,
    block: Annotated[
        int | None,
        typer.Option(
            min=2, help="rows: tokens of a row, 1025. litpkds: tokens of a sequence, 2049."
        ),
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="litpkds: tokens of a file, 1024 sequences.")
    ] = None,
    pad: Annotated[
        int | None, typer.Option(min=0, help="litpkds: the id that fills up the last file.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="What the names of the files begin with.")
    ] = None,
) -> None:
    """Write token data in a format that other systems read.

    \b
    Example: python -m workloads data export runs/data/web packed --format litpkds --split train \\
               --chunk 2098176 --pad 1 --prefix train_slimpajama_0

    \b
      rows      PREFIX-train-tmp.bin: uint16 of shape (n, 1025), as the paper's public code reads;
                tokens that fill no row are dropped; PREFIX is llama where it is left out
      litpkds   PREFIX_0000000000.bin, ...: packed chunks, as lit-gpt and PRTS read
      flat      train.bin, val.bin: uint16, as nanoGPT and llm-baselines read
      megatron  PREFIX.bin and PREFIX.idx: Megatron's indexed dataset, one sequence a document

    Ids are stored as uint16, and by litpkds and megatron as int32 for vocabularies of 65,500 ids
    and more. Prints the files, which appear when all of a split are complete, and says on stderr
    how many tokens fill up the last file of litpkds, and how many fill no row. Padding that
    padding-PREFIX.json declares is left out of training and losses here.
    Exit code 2 when the format cannot hold the data, or OUT has such files already.
    """
    data, layout = _found(directory, None), Layout(block, chunk, pad, prefix)
    splits: list[SplitName] = [split] if split else list(data.streams)
    note = partial(typer.echo, err=True)
    for path in write_export(data, splits, out, FORMATS[format], layout, note):
        typer.echo(str(path))


def _found(path: Path, block: int | None) -> TokenData:
    """Return what is at a path. Raises DataError where rows are asked of a dataset without, and of
    one file of a dataset."""
    if problem := part_of_dataset(path):
        raise DataError(problem)
    data = read_path(path, block)
    if data.own and block not in (None, rows := data.own.dataset.row_tokens):
        has = f"rows of {rows} tokens" if rows else "no rows"
        raise DataError(f"{path}: has {has}, as its manifest says; leave --block out")
    return data


def _bytes(data: TokenData) -> int:
    return sum(file.map().nbytes for file in data.files)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the facts for people: a line a field, a paragraph a split, then the cautions."""
    for name, value in facts.items():
        if name not in ("splits", "cautions") and value is not None:
            yield f"{name:<21} {_shown(value)}"
    for split, fields in facts["splits"].items():
        yield f"\n{split}"
        for name, value in fields.items():
            if name != "samples" and value is not None:
                yield f"  {name:<19} {_shown(value)}"
        for sample in fields["samples"] or []:
            yield f"  {'sample':<19} {sample!r}"
    for sentence in facts["cautions"]:
        yield f"caution: {sentence}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
