"""The commands of `python -m kernels`: benchmarks, and the table of what they showed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kernels.bench.command import ResultsFile, Rounds, measure_claims
from kernels.bench.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class _Bench(TyperGroup):
    """Command group that reads `bench NAME ...` as `bench claims NAME ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, "--help"}:
            args = ["claims", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(cls=_Bench, rich_markup_mode=None)
app.add_typer(bench_app, name="bench")

Device = Annotated[
    str | None,
    typer.Option(metavar="[cpu|cuda]", help="Device to measure; by default CUDA if there is any."),
]


@app.callback()
def kernels() -> None:
    """Benchmark the operations of structured FFNs, and show what they are worth."""


@bench_app.callback()
def bench() -> None:
    """Measure the kernels on this machine, each paired with its baseline.

    \b
    Example: python -m kernels bench blockshuffle self-guided/lowrank
    is short for: python -m kernels bench claims blockshuffle self-guided/lowrank
    """


@bench_app.command()
def claims(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME ...]", help="Claims by name, or by the beginning of it."),
    ] = None,
    device: Device = None,
    rounds: Rounds = 9,
    out: ResultsFile = None,
) -> None:
    """Time each claim's candidate and baseline in turn, and record the raw samples of both.

    \b
    Example: python -m kernels bench claims blockshuffle --device cpu --rounds 15

    A claim is that an operation takes so many times less time, or memory, than its plain
    formulation, a dense layer or torch's default. kernels/bench/RESULTS.md lists all claims. On a
    CPU both use one thread. Other work on the machine spoils the numbers: look at the spread. Exit
    code 0 when all claims were verified, 1 when one was missed, 2 when the input is wrong.
    """
    # Imported late so that --help does not wait for torch.
    from kernels.bench.claims import of_kernels, select
    from kernels.bench.comparison import compare

    chosen = _device(device)
    found = select(names or [], of_kernels(chosen.type))
    measure_claims(found, rounds, chosen, out, compare)


@bench_app.command()
def latency(
    out: Annotated[Path, typer.Option(dir_okay=False, help="The CSV file to write.")],
    device: Device = None,
    width: Annotated[
        list[int] | None, typer.Option(min=32, help="Widths instead of the default ones.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=16, help="Most tokens, instead of the default.")
    ] = None,
    rounds: Rounds = 5,
) -> None:
    """Time the forward pass of FFNs over widths, weights and tokens for the latency figures.

    \b
    Example: python -m kernels bench latency --out latency.csv
    then:    python -m analysis plot latency latency.csv --out figures

    On CUDA these are the paper's figures: widths to 6144, and 30,720 tokens. On a CPU widths go to
    768 and tokens to 4096, which takes a few minutes.
    """
    # Imported late, as above.
    from kernels.bench.latency import Sweep, measure, write

    chosen = _device(device)
    sweep = Sweep.of(chosen).within(tuple(sorted(width or ())), tokens)
    rows = measure(sweep, rounds, chosen, lambda line: typer.echo(line, err=True))
    write(out, list(rows))
    typer.echo(f"python -m analysis plot latency {out}")


@app.command()
def table() -> None:
    """Print which claims are verified, missed, stale or not measured, in Markdown.

    \b
    Example: python -m kernels table > kernels/bench/RESULTS.md
    """
    # Imported late, as above.
    from kernels.bench import table as claims_table

    typer.echo(claims_table.table(), nl=False)


def _device(name: str | None) -> Any:
    """Return the torch device of that name; raise InputError if this machine has none."""
    import torch

    cuda = torch.cuda.is_available()
    if name not in (None, "cpu", "cuda"):
        raise InputError(f"--device {name}: give cpu or cuda")
    if name == "cuda" and not cuda:
        raise InputError("--device cuda: torch finds no CUDA device here; give --device cpu")
    return torch.device("cuda" if cuda and name != "cpu" else "cpu")
