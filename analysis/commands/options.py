"""Options that several commands share, and how commands read tables, refuse input and write.

Options that go together are a class: a command takes `table: TableOptions`, and `with_groups` makes
its fields options of the command.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.fitting.fit import FitError
from analysis.laws.law import Law
from analysis.laws.registry import LAWS
from analysis.scaling.arm import Settings
from analysis.tables.errors import RunTableError
from analysis.tables.files import TableFile
from analysis.tables.table import Columns, Table, read_table
from analysis.tables.writing import finite, write_text
from analysis.uncertainty.bootstrap import Resampling
from analysis.verbs.choices import loss_named, resampling_of

Runs = Annotated[
    Path, typer.Argument(metavar="RUNS.csv", help="Runs: CSV, JSON lines or Parquet; - for stdin.")
]
Curves = Annotated[
    Path, typer.Argument(metavar="CURVES.csv", help="A row a step: CSV, JSON lines or Parquet.")
]
LawOption = Annotated[str, typer.Option("--law", help=f"One of {', '.join(LAWS)}.")]
UniqueCol = Annotated[
    str | None, typer.Option(help="Column of unique tokens, for law data-constrained.")
]
GroupCol = Annotated[
    str | None,
    typer.Option(help="Column naming the training run a row is a checkpoint of: the unit drawn."),
]
By = Annotated[str | None, typer.Option(help="Fit each value of this column apart.")]
FlopsCol = Annotated[
    str | None, typer.Option(help="Column of training FLOPs. [default: train_flops]")
]
LossCol = Annotated[str | None, typer.Option(help="Column of the loss. [default: val_loss]")]
HeldE = Annotated[float | None, typer.Option("--e", help="Hold E at this loss. [default: free]")]
DropHighest = Annotated[int, typer.Option(min=0, help="Leave out the K highest losses of an arm.")]
Delta = Annotated[
    float | None,
    typer.Option(help="Huber's delta. [default: 1.345 robust s.d. of the residuals]"),
]
JsonOut = Annotated[
    Path | None, typer.Option("--json", metavar="OUT", help="Write all results here as JSON.")
]


@dataclass(frozen=True)
class TableOptions:
    """The columns of the file by what they hold, and the FLOP convention to keep."""

    params_col: Annotated[
        str | None, typer.Option(help="Column of parameters. [default: params]")
    ] = None
    tokens_col: Annotated[
        str | None,
        typer.Option(
            help="Column of training tokens; C/(6N) without it when --flops-col is given. "
            "[default: tokens]"
        ),
    ] = None
    flops_col: FlopsCol = None
    loss_col: LossCol = None
    status_col: Annotated[
        str | None,
        typer.Option(help="Column of each run's status. [default: status or state, if there]"),
    ] = None
    convention_col: Annotated[
        str | None,
        typer.Option(help="Column of the FLOP convention. [default: flop_convention, if there]"),
    ] = None
    convention: Annotated[
        str | None, typer.Option(help="Keep the runs of this FLOP convention, where several mix.")
    ] = None

    def read(
        self, runs: Path, needs: tuple[str, ...], **others: str | None
    ) -> tuple[Table, Columns]:
        """Read `runs` for a law in the variables `needs`; `others` are more fields of `Columns`."""
        columns = Columns(
            params=self.params_col,
            tokens=self.tokens_col,
            flops=self.flops_col,
            loss=self.loss_col,
            status=self.status_col,
            convention=self.convention_col,
            **others,
        )
        return read_table(runs, columns, needs, self.convention), columns


@dataclass(frozen=True)
class LossOptions:
    """The loss function of the fit."""

    loss: Annotated[str, typer.Option(help="Loss of log-residuals: huber, l1 or l2.")] = "huber"
    delta: Delta = None

    def settings(self, law: Law, **others: Any) -> Settings:
        """Make the settings of a fit of `law`; `others` are more fields of `Settings`."""
        return Settings(law, loss_named(self.loss), self.delta, **others)


@dataclass(frozen=True)
class ResampleOptions:
    """The settings of the intervals."""

    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for intervals; 0 for none.")] = (
        4000
    )
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95

    @property
    def resampling(self) -> Resampling | None:
        """The settings of the bootstrap; None for no intervals."""
        return Resampling(self.bootstrap, self.level, self.seed) if self.bootstrap else None

    def needed(self, by: str) -> Resampling:
        """Give `resampling`; raise a FitError if it is too little for a command that needs it."""
        return resampling_of(self.bootstrap, self.seed, self.level, by)


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of `command` whose type is a dataclass by an option for each field.

    typer reads a command's options off its signature, so the signature is written anew; the
    command itself still takes the dataclass.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(command).parameters.values():
        group = parameter.annotation
        if not (isinstance(group, type) and is_dataclass(group)):
            parameters.append(parameter)
            continue
        groups[parameter.name] = group
        parameters += [
            inspect.Parameter(f.name, parameter.kind, default=f.default, annotation=f.type)
            for f in fields(group)
        ]

    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in fields(group)})
        command(**given)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    return called


PACKAGES = ("numpy", "scipy", "pandas")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a mistake of the user's into one line on stderr and exit code 2; a failed write too."""
    try:
        yield
    except (RunTableError, FitError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error


def write_json(out: Path | None, document: dict[str, Any]) -> None:
    """Write `document` as JSON, numbers that are not finite as null; nothing without `out`."""
    if out is None:
        return
    text = json.dumps(finite(document), indent=1, allow_nan=False, ensure_ascii=False)
    try:
        write_text(out, text + "\n")
    except OSError as error:
        raise RunTableError(f"{out}: cannot be written ({error}); choose another --json") from error


def provenance(file: TableFile, columns: Columns, *groups: Any, **options: Any) -> dict[str, Any]:
    """Record where the numbers come from: the file's hash, the columns, the options and versions.

    Options come as groups (dataclasses) or by name.
    """
    for group in groups:
        options |= asdict(group)
    return {
        "source": file.source,
        "sha256": file.sha256,
        "columns": {k: v for k, v in vars(columns).items() if v is not None},
        "options": options,
        "versions": {name: version(name) for name in PACKAGES},
    }


def print_lines(lines: list[str]) -> None:
    """Print results to stdout, a line each."""
    typer.echo("\n".join(lines))
