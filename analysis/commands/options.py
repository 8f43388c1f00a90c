"""Options that several commands share, and how commands read, refuse and write."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.fit import FitError, Loss
from analysis.laws import LAWS, Law
from analysis.runs import RunTableError, nearest
from analysis.table import Columns
from analysis.writing import finite

Runs = Annotated[Path, typer.Argument(metavar="RUNS.csv", help="Runs: .csv, .jsonl or .parquet.")]
Curves = Annotated[
    Path, typer.Argument(metavar="CURVES.csv", help="A row a step: .csv, .jsonl or .parquet.")
]
LawOption = Annotated[str, typer.Option("--law", help=f"One of {', '.join(LAWS)}.")]
ParamsCol = Annotated[str | None, typer.Option(help="Column of parameters. [default: params]")]
TokensCol = Annotated[
    str | None,
    typer.Option(
        help="Column of training tokens; C/(6N) without it when --flops-col is given. "
        "[default: tokens]"
    ),
]
FlopsCol = Annotated[
    str | None, typer.Option(help="Column of training FLOPs. [default: train_flops]")
]
LossCol = Annotated[str | None, typer.Option(help="Column of the loss. [default: val_loss]")]
UniqueCol = Annotated[
    str | None, typer.Option(help="Column of unique tokens, for law data-constrained.")
]
GroupCol = Annotated[
    str | None,
    typer.Option(help="Column naming the training run a row is a checkpoint of: the unit drawn."),
]
StatusCol = Annotated[
    str | None, typer.Option(help="Column of each run's status. [default: status, if there]")
]
ConventionCol = Annotated[
    str | None,
    typer.Option(help="Column of the FLOP convention. [default: flop_convention, if there]"),
]
Convention = Annotated[
    str | None, typer.Option(help="Keep the runs of this FLOP convention, where several mix.")
]
By = Annotated[str | None, typer.Option(help="Fit each value of this column apart.")]
LossName = Annotated[str, typer.Option(help="Loss of log-residuals: huber, l1 or l2.")]
Delta = Annotated[
    float | None,
    typer.Option(help="Huber's delta. [default: 1.345 robust s.d. of the residuals]"),
]
HeldE = Annotated[float | None, typer.Option("--e", help="Hold E at this loss. [default: free]")]
DropHighest = Annotated[int, typer.Option(min=0, help="Leave out the K highest losses of an arm.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples for intervals; 0 for none.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the resamples.")]
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")]
JsonOut = Annotated[
    Path | None, typer.Option("--json", metavar="OUT", help="Write all results here as JSON.")
]

PACKAGES = ("numpy", "scipy", "pandas")


def law_named(name: str) -> Law:
    """The law, or an error that names the nearest."""
    for known, law in LAWS.items():
        if known == name:
            return law
    raise FitError(f"--law {name}: no such law{nearest(name, LAWS)}; one of {', '.join(LAWS)}")


def loss_named(name: str) -> Loss:
    """The loss, or an error that names them all."""
    if name not in ("huber", "l1", "l2"):
        raise FitError(f"--loss {name}: no such loss; one of huber, l1, l2")
    return name


def one_target(text: str, law: Law) -> dict[str, float]:
    """`params=7e9,tokens=1e12` as numbers for the law's variables."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        name = name.strip()
        try:
            found[name] = float(value)
        except ValueError:
            raise FitError(f"--at {text!r}: {part!r} is not NAME=NUMBER") from None
        if name not in law.variables:
            known = ", ".join(law.variables)
            raise FitError(f"--at {text!r}: law {law.name} has no {name!r}; it takes {known}")
        if not (found[name] > 0 and math.isfinite(found[name])):
            raise FitError(f"--at {text!r}: {name} must be a positive number")
    if missing := set(law.variables) - set(found):
        raise FitError(f"--at {text!r}: {', '.join(sorted(missing))} is missing")
    return found


@contextmanager
def refusals() -> Iterator[None]:
    """A user's mistake is one line on stderr and exit code 2; a failed write too."""
    try:
        yield
    except (RunTableError, FitError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error


def write_json(out: Path | None, document: dict[str, Any]) -> None:
    """Write `document`, numbers that are not finite as null."""
    if out is None:
        return
    text = json.dumps(finite(document), indent=1, allow_nan=False, ensure_ascii=False)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise RunTableError(f"{out}: cannot be written ({error}); choose another --json") from error


def provenance(path: Path, columns: Columns, options: dict[str, Any]) -> dict[str, Any]:
    """Where the numbers come from: the file's hash, the columns, the options and versions."""
    return {
        "source": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "columns": {k: v for k, v in vars(columns).items() if v is not None},
        "options": options,
        "versions": {name: version(name) for name in PACKAGES},
    }


def printed(lines: list[str]) -> None:
    """Results go to stdout."""
    typer.echo("\n".join(lines))
