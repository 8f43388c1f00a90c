"""What the commands of `python -m study` share: arguments, and reading study and ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.ledger import reader
from study.ledger.identities import check_identities, check_name
from study.ledger.reader import Record
from study.ledger.store import tracking_uri
from study.plan import planner
from study.plan.planner import Study
from study.search.samples import with_recorded
from workloads.errors import InputError

RUNS = Path("runs")


def _folder(runs: Path) -> Path:
    """Return the runs folder. Raises InputError for a path that can be no folder's."""
    if runs.parts and runs.parts[0].endswith(":"):
        raise InputError(f"--runs {runs} begins as a URI does; give the path alone")
    try:
        str(runs.resolve()).encode()  # MLflow and Ray take a path as text
    except RuntimeError:
        raise InputError(f"--runs {runs} is a loop of links; choose another folder") from None
    except UnicodeEncodeError:
        raise InputError(
            f"--runs {runs}: this folder, or one above it, has a name that is not UTF-8; choose "
            "another"
        ) from None
    return runs


Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="The study file (YAML).")]
Runs = Annotated[
    Path,
    typer.Option(
        envvar="STUDY_RUNS",
        callback=_folder,
        help="Where runs, data and the default ledger are kept.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def load_recorded(
    spec: Path, runs: Path, with_params: bool = False
) -> tuple[Study, dict[str, Record]]:
    """Return the planned study with its recorded samples, and the ledger's records by point id.

    A report needs the records' parameters. Raises InputError for a mistake in the file, a name that
    no new study can have, or where a point's id is recorded with another meaning.
    """
    planned = planner.load(spec, runs)
    records = reader.read(tracking_uri(runs), planned.name, with_params)
    check_name(planned, records)
    planned = with_recorded(planned, records)
    check_identities(planned.points, records)
    return planned, records
