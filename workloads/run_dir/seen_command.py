"""`data seen`: which documents a checkpoint has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from workloads.config.run import ENDLESS
from workloads.run_dir.seen import DocumentSeen, Seen, SourceSeen


def seen(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's directory, which holds data.json.")
    ],
    step: Annotated[
        int | None,
        typer.Option(min=0, help="After this optimizer step; left out, the last that is recorded."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Say which documents a run had seen after a step.

    \b
    Example: python -m workloads data seen out/low-rank --step 500 --json

    The order of the text follows from the run's seed: nothing else is recorded while it trains. A
    document was seen where a token of it was read; tokens are those of it that were targets,
    counted each time, passes are these over its length, and windows the sequences that read a part
    of it. Documents are counted from 0 in the training split, and have a file and a row in it where
    the dataset knows them. Text that does not say where documents begin, such as the formats rows,
    litpkds and flat, is answered in windows and tokens. Exit code 2 when the run or its text is not
    at hand.
    """
    found = Seen(run, step)
    write = _write_json if as_json else _write_text
    write(run, found)


def _write_json(run: Path, found: Seen) -> None:
    """Write one JSON object, its documents a line each, without holding them."""
    sources = [vars(source) for source in found.sources()]
    head = {
        "run": str(run),
        "step": found.step,
        "steps": found.steps,
        "tokens": sum(source["tokens"] for source in sources),
        "sources": sources,
    }
    # `print`, because there may be millions of lines and `typer.echo` flushes each.
    print(json.dumps(head, indent=1).removesuffix("\n}") + ',\n "documents": [', end="")
    before = "\n  "
    for document in found.documents():
        print(before + json.dumps(vars(document)), end="")
        before = ",\n  "
    print("\n ]\n}")


def _write_text(run: Path, found: Seen) -> None:
    of_all = "" if found.steps == ENDLESS else f" of {found.steps:,}"
    typer.echo(f"{run} after step {found.step:,}{of_all}")
    for source in found.sources():
        typer.echo(_source_line(source))
    typer.echo(f"\n{'document':>12}  {'passes':>8}  {'tokens':>12}  {'length':>12}  file:row")
    for document in found.documents():
        print(_document_line(document))


def _source_line(source: SourceSeen) -> str:
    documents = (
        f"format {source.format} does not say where documents begin"
        if source.documents is None
        else f"{source.documents_seen:,} of {source.documents:,} documents"
    )
    return (
        f"{source.source or source.path}: {source.tokens:,} tokens, {source.passes:.4g} passes; "
        f"{source.windows_seen:,} of {source.windows:,} windows; {documents}"
    )


def _document_line(document: DocumentSeen) -> str:
    number = f"{document.source} {document.document}".strip()
    row = "" if document.row is None else f":{document.row}"
    return (
        f"{number:>12}  {document.passes:>8.3f}  {document.tokens:>12,}  {document.length:>12,}  "
        f"{document.file or ''}{row}"
    ).rstrip()
