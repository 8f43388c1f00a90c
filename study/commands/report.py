"""`study report`: the scaling curves of what a study has recorded."""

from __future__ import annotations

from study.commands.options import RUNS, Runs, Spec, load_recorded
from study.display.console import results
from study.ledger import reader
from study.ledger.reader import Record
from study.ledger.store import tracking_uri
from study.plan.planner import Study
from workloads.errors import InputError


def report(spec: Spec, runs: Runs = RUNS) -> None:
    """Fit the scaling curves of the finished runs; write runs.csv, fits.json, figure and report.

    \b
    Example:
      python -m study report study/specs/quickstart.yaml
    """
    planned, records = load_recorded(spec, runs, with_params=True)
    if not records:
        raise InputError(
            f"study {planned.name} has no runs yet; start it with: python -m study run {spec}"
        )
    write_report(planned, records)


def read_records(planned: Study) -> dict[str, Record]:
    """Return what the ledger holds of the study, with the parameters that a report needs."""
    return reader.read(tracking_uri(planned.runs_dir), planned.name, with_params=True)


def write_report(planned: Study, records: dict[str, Record]) -> None:
    """Write the report of a study with its recorded samples, and print what it says."""
    from study.transfer.report import write

    written = write(planned, records)
    for line in (*written.lines, f"report: {written.out_dir / 'report.html'}"):
        results.print(line, soft_wrap=True)
