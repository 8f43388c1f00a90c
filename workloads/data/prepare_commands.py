"""The commands of `data` that make token data from text: prepare, train-tokenizer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from workloads.data.preparing.recipes.table import DEFAULT_RECIPE, RECIPES

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Files, folders, patterns or URLs that fsspec reads; hub:NAME?split=train of the "
        "Hugging Face hub.",
    ),
]
TextField = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        help="The field of the text in JSON and Parquet, by default text; dots lead into records.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=VALUE",
        help="Take only rows with this value, or without it: FIELD!=VALUE. May be repeated.",
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out, and count, what cannot be read.")
]


def prepare(
    sources: Sources,
    tokenizer: Annotated[
        str, typer.Option(metavar="T", help="byte, or the path of a tokenizer.json.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder of the dataset.")],
    text_field: TextField = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(help="Share of documents for validation, by default 0.01; 0 for none."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; left out, one for each CPU.")
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = DEFAULT_RECIPE,
    where: Where = None,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep the first of equal documents only.")
    ] = False,
    skip_bad: SkipBad = False,
    gigatoken: Annotated[
        bool,
        typer.Option("--gigatoken", help="Encode with gigatoken: the same ids, checked, sooner."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Turn text into a dataset of tokens, once and exactly.

    \b
    Example: python -m workloads data prepare 'web/*.jsonl.zst' --tokenizer llama.json \\
               --out runs/data/web --text-field content --workers 16

    A file of plain text is one document; JSONL (.jsonl, .jsonlines, .ndjson, .json) and Parquet
    have one in each row. Text and JSONL may be packed as .gz or .zst. Links are followed; hidden
    files of folders are left out. Each document is followed by an end of document, and no other
    special token is added: text that looks like one stays text. Validation is chosen by a hash of
    the text.

    The same inputs give the same files, whatever the number of workers. What is finished is kept in
    OUT/parts: the same command goes on after a stop, and tokenizes only files that are new. Delete
    OUT/parts to free the space.

    \b
    Recipes of public systems:
      structured-ffn  rows of 1,025 tokens, a tenth of each group of files, shuffled (RefinedWeb)
      prts            SlimPajama without GitHub; write it with `data export --format litpkds`
      llm-baselines   shuffled documents; write it with `data export --format flat`

    Prints documents, tokens, bytes a token, duplicates and the longest document; the manifest in
    OUT has them too. Exit code 0 when the dataset is whole, 1 when the work was stopped, 2 when
    something cannot be read or written.
    """
    # Imported late so that --help does not wait.
    from workloads.data.preparing.display import Progress, facts, summary
    from workloads.data.preparing.plan import Request
    from workloads.data.preparing.prepare import prepare
    from workloads.data.preparing.processes import WorkerDied, processes

    request = Request(
        sources=tuple(sources),
        tokenizer=tokenizer,
        out=out,
        recipe=recipe,
        text_field=text_field,
        val_fraction=val_fraction,
        where=tuple(where or ()),
        drop_duplicates=drop_duplicates,
        skip_bad=skip_bad,
        gigatoken=gigatoken,
    )
    signal.signal(signal.SIGTERM, _stop)
    kept = f"what is finished is kept in {out}, and the same command goes on from there"
    count = workers or len(os.sched_getaffinity(0))
    try:
        with _stopped_by_ctrl_c(count, kept), processes(count) as map_function:
            manifest = prepare(request, map_function, Progress())
    except KeyboardInterrupt:
        typer.echo(f"stopped; {kept}", err=True)
        raise typer.Exit(1) from None
    except WorkerDied:
        typer.echo(f"a worker was killed, perhaps for its memory; {kept}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(facts(manifest), indent=1) if as_json else summary(manifest, out))


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # One is enough; a second would break off the first.
    raise KeyboardInterrupt


@contextmanager
def _stopped_by_ctrl_c(workers: int, kept: str) -> Iterator[None]:
    """Have Ctrl-C end what is within, and say at once what that waits for: workers finish the
    pieces in hand. A second Ctrl-C drops these."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal asked
        if asked:
            os.write(2, f"stopped; the pieces in hand are dropped; {kept}\n".encode())
            os._exit(1)  # its workers end with it
        asked = True
        if workers > 1:
            os.write(2, b"finishing the pieces in hand; Ctrl-C again drops them\n")
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def train_tokenizer(
    sources: Sources,
    vocab: Annotated[int, typer.Option(min=258, help="Ids of the vocabulary.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The tokenizer.json to write.")],
    text_field: TextField = None,
    where: Where = None,
    skip_bad: SkipBad = False,
) -> None:
    """Train a byte-level BPE tokenizer, the same one each time, on text.

    \b
    Example: python -m workloads data train-tokenizer web/ --vocab 4096 --out tokenizer.json

    SOURCE is as of `data prepare`. Id 0 is </s>, which ends a document; ids 1 to 256 are the bytes,
    so that any text has tokens. Exit code 0 when OUT is written, 2 when something cannot be read.
    """
    # Imported late, as above.
    from workloads.data.preparing.training import train

    found = train(sources, vocab, out, text_field or "text", where or (), skip_bad)
    typer.echo(
        f"{out}: {found.ids:,} ids, from {found.documents:,} documents; "
        f"{found.bytes_per_token:.3f} bytes a token over the first {found.measured / 1e6:,.1f} MB"
    )
