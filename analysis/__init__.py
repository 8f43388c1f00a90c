"""Fit scaling laws to finished runs and draw them: the names that notebooks and scripts use.

    from analysis import load_study

    study = load_study("quickstart")
    study.fit()
    study.compare()
    study.plot.scaling()

The other names are the parts that these are made of. Each name is imported when it is first asked
for, so that `import analysis` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.figures.registry import PLOTS
    from analysis.figures.scaling import scaling_figure
    from analysis.fitting.fit import FitError, fit_law
    from analysis.laws.registry import LAWS
    from analysis.notebooks.errors import StudyError
    from analysis.notebooks.load import load_study
    from analysis.notebooks.study import Study
    from analysis.report.findings import headlines, limits
    from analysis.report.report import write_report
    from analysis.report.sections import comparison_section, fit_section
    from analysis.scaling.arms import fit_arms
    from analysis.tables.errors import RunTableError
    from analysis.tables.runs import load_csv, load_mlflow, split_usable
    from analysis.uncertainty.bootstrap import Resampling, bootstrap

__all__ = [
    "LAWS",
    "PLOTS",
    "FitError",
    "Resampling",
    "RunTableError",
    "Study",
    "StudyError",
    "bootstrap",
    "comparison_section",
    "fit_arms",
    "fit_law",
    "fit_section",
    "headlines",
    "limits",
    "load_csv",
    "load_mlflow",
    "load_study",
    "scaling_figure",
    "split_usable",
    "write_report",
]

_HOMES = {
    "analysis.figures.registry": ("PLOTS",),
    "analysis.figures.scaling": ("scaling_figure",),
    "analysis.fitting.fit": ("FitError", "fit_law"),
    "analysis.laws.registry": ("LAWS",),
    "analysis.notebooks.errors": ("StudyError",),
    "analysis.notebooks.load": ("load_study",),
    "analysis.notebooks.study": ("Study",),
    "analysis.report.findings": ("headlines", "limits"),
    "analysis.report.report": ("write_report",),
    "analysis.report.sections": ("comparison_section", "fit_section"),
    "analysis.scaling.arms": ("fit_arms",),
    "analysis.tables.errors": ("RunTableError",),
    "analysis.tables.runs": ("split_usable", "load_csv", "load_mlflow"),
    "analysis.uncertainty.bootstrap": ("Resampling", "bootstrap"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")
