"""Finding a study by what one knows of it: its name, a folder, a file or the ledger."""

import os
import re
from pathlib import Path

from analysis.notebooks.errors import one_line_errors
from analysis.notebooks.study import Study
from analysis.tables import tracking
from analysis.tables.errors import RunTableError, nearest
from analysis.tables.study_tables import (
    StudyTables,
    studies_of,
    tables_of_file,
    tables_of_ledger,
)

RUNS_TABLE, LEDGER = "runs.csv", "mlflow.db"
SPECS = (".yaml", ".yml")
URI = re.compile(r"[a-z+]+://|(sqlite|file|databricks|uc):|databricks$")


@one_line_errors
def load_study(
    where: str | Path, study: str | None = None, *, runs: str | Path | None = None
) -> Study:
    """Load a study: its runs, and all that can be asked of them.

    Args:
        where: the name of a study or its study file, looked for in the runs folder; the folder of
            a report or an export; a run table; or the tracking URI or database of a ledger. A name
            takes what the last report wrote, and the ledger where there is no report yet; a
            tracking URI gives the runs as they stand now.
        study: the name of the study, where a ledger holds several.
        runs: the runs folder. Default: `STUDY_RUNS`, else `runs` here or in the nearest folder
            above that has one.

    Raises:
        StudyError: no such study, with the nearest name and where it was looked for; or its table
            cannot be read.

    Example:
        study = load_study("quickstart")
        study.plot.scaling()
    """
    return Study(_tables(str(where), study, None if runs is None else Path(runs)))


def _tables(where: str, study: str | None, runs: Path | None) -> StudyTables:
    if URI.match(where):
        return _of_ledger(where, study)
    path = Path(where).expanduser()
    if path.is_file() and path.suffix == Path(LEDGER).suffix:
        return _of_ledger(tracking.address(path.absolute()), study)
    if (path / LEDGER).is_file() and study is not None:
        return _named(study, path)
    if study is not None:
        raise RunTableError(f"study {study!r}: {where} is no ledger; leave the second name out")
    if path.suffix in SPECS:
        return _named(_name_in(path), runs)
    if path.is_file():
        return tables_of_file(path)
    if (path / RUNS_TABLE).is_file():
        return tables_of_file(path / RUNS_TABLE)
    if path.name == where:
        return _named(where, runs)
    if (path / LEDGER).is_file():
        return _of_ledger(tracking.address((path / LEDGER).absolute()), None)
    what = f"it holds no {RUNS_TABLE}" if path.is_dir() else "no such file or folder"
    raise RunTableError(
        f"{path.absolute()}: {what}; give the name of a study, the folder of a report or an "
        "export, or a tracking URI"
    )


def _of_ledger(uri: str, study: str | None) -> StudyTables:
    """Read the study of that name, or the only one."""
    if study is not None:
        return tables_of_ledger(uri, study)
    names = studies_of(uri)
    if len(names) != 1:
        held = f"holds {len(names)} studies: {', '.join(names)}" if names else "holds no study"
        raise RunTableError(f"{tracking.shown(uri)} {held}; name one: load_study(URI, NAME)")
    return tables_of_ledger(uri, names[0])


def _named(name: str, runs: Path | None) -> StudyTables:
    """Find a study by name: in the runs folders what a report wrote, else in their ledger."""
    folders = _runs_folders(runs)
    for folder in folders:
        if (folder / name / RUNS_TABLE).is_file():
            return tables_of_file(folder / name / RUNS_TABLE)
    known = {path.parent.name for folder in folders for path in folder.glob(f"*/{RUNS_TABLE}")}
    for uri in _ledgers(folders):
        names = studies_of(uri)
        if name in names:
            return tables_of_ledger(uri, name)
        known |= set(names)
    places = ", ".join(str(folder.absolute()) for folder in folders) or (
        f"{Path.cwd()} and the folders above: none has a folder `runs`"
    )
    held = f"it has {', '.join(sorted(known))}" if known else "no study is there"
    raise RunTableError(
        f"no study {name!r}{nearest(name, known)} in {places}: {held}; "
        "give its folder or a tracking URI, or name the runs folder with runs="
    )


def _runs_folders(given: Path | None) -> list[Path]:
    """List where the studies of this place are kept: one folder, or none."""
    if given is not None or "STUDY_RUNS" in os.environ:
        return [given or Path(os.environ["STUDY_RUNS"])]
    here = Path.cwd()
    found = (folder / "runs" for folder in (here, *here.parents))
    return [folder for folder in found if folder.is_dir()][:1]


def _ledgers(folders: list[Path]) -> list[str]:
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return [uri]
    databases = (folder / LEDGER for folder in folders)
    return [tracking.address(path.absolute()) for path in databases if path.is_file()]


def _name_in(spec: Path) -> str:
    """Read the name of the study off its file."""
    try:
        text = spec.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunTableError(f"{spec}: cannot be read as a study file ({error})") from error
    found = re.search(r"^study:\s*[\"']?([^\s\"'#]+)", text, re.MULTILINE)
    if found is None:
        raise RunTableError(f"{spec}: no line `study: NAME`; give a study file")
    return found[1]
