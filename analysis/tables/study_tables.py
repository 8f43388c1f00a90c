"""The tables of one study: its runs, and the training curves of these where they are at hand.

A report leaves runs.csv and curves.csv; `study export` leaves runs.csv and metrics.csv; the ledger
holds both. Figures, commands and notebooks read a study from here, wherever it is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis.tables import tracking
from analysis.tables.curves import CURVES, load_curves
from analysis.tables.errors import RunTableError
from analysis.tables.files import TableFile
from analysis.tables.metrics import (
    METRICS,
    curves_of_metrics,
    metrics_of_export,
    metrics_of_ledger,
)
from analysis.tables.runs import load_mlflow, load_studies, read_called, run_table

Curves = Callable[[pd.DataFrame], pd.DataFrame | None]  # given the runs


@dataclass(frozen=True)
class StudyTables:
    """The run table as it was read (`file`) and in the columns of `RUN_COLUMNS` (`runs`).

    `folder` is where it lies, beside what else a study keeps; None for a table of no folder.
    """

    file: TableFile
    runs: pd.DataFrame = field(repr=False)
    folder: Path | None
    _read_curves: Curves = field(repr=False)

    @property
    def source(self) -> str:
        """Where the rows come from."""
        return self.file.source

    @cached_property
    def curves(self) -> pd.DataFrame | None:
        """The training curves, with `CURVE_COLUMNS`; None where there are none.

        Raises:
            RunTableError: there are some, and they cannot be read.
        """
        return self._read_curves(self.runs)

    @property
    def needed_curves(self) -> pd.DataFrame:
        """The training curves; a RunTableError says where they would be."""
        if self.curves is None:
            place = self.source if self.folder is None else str(self.folder / CURVES)
            raise RunTableError(
                f"{place}: no training curves; `study report` writes {CURVES} beside runs.csv "
                "where the runs' folders are at hand"
            )
        return self.curves


def tables_of_file(path: Path, called: Mapping[str, str] | None = None) -> StudyTables:
    """Read a run table, and the curves beside it when they are asked for.

    Args:
        path: the file.
        called: what the file calls columns of ours, by our names.

    Raises:
        RunTableError: the file is not a run table.
    """
    file = read_called(path, called)
    folder = path.parent if path.is_file() else None  # standard input has none
    runs = run_table(file.frame, file.source)
    return StudyTables(file, runs, folder, lambda runs: _beside(path, runs))


def tables_of_files(paths: list[Path], called: Mapping[str, str] | None = None) -> StudyTables:
    """Read the run tables of one or more studies, of several as one without curves.

    Raises:
        RunTableError: a file is not a run table, or two are of one study.
    """
    if len(paths) == 1:
        return tables_of_file(paths[0], called)
    runs = load_studies(paths, called)
    return StudyTables(TableFile(", ".join(map(str, paths)), runs), runs, None, lambda _: None)


def tables_of_ledger(uri: str, study: str) -> StudyTables:
    """Read a study from MLflow's store at the tracking URI.

    Raises:
        RunTableError: no such store or study, or someone has edited what it holds.
    """
    runs = load_mlflow(uri, study)
    file = TableFile(f"{tracking.shown(uri)} ({study})", runs)
    return StudyTables(
        file, runs, None, lambda runs: curves_of_metrics(metrics_of_ledger(uri, runs), runs)
    )


def _beside(path: Path, runs: pd.DataFrame) -> pd.DataFrame | None:
    """Read the curves beside the run table `path`: those of a report, or of an export."""
    if not path.is_file() or path.name in (CURVES, METRICS):
        return None
    if (curves := path.with_name(CURVES)).is_file():
        return load_curves(curves)
    if (metrics := path.with_name(METRICS)).is_file():
        return curves_of_metrics(metrics_of_export(metrics), runs)
    return None


def studies_of(uri: str) -> list[str]:
    """Name the studies that MLflow's store at the tracking URI holds points of.

    Raises:
        RunTableError: the store cannot be read.
    """
    with tracking.opened(uri) as client:
        return [
            found.name
            for found in client.search_experiments()
            if client.search_runs([found.experiment_id], "tags.point_id LIKE '%'", max_results=1)
        ]
