"""Two studies of the same points compared as MLflow holds them: a twin, and one that was disturbed.

What depends on the machine's speed or on the number of attempts is left out; all else must be equal
to the last digit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from analysis.tables import runs
from study.plan.planner import Study
from workloads.run_dir.executed_flops import ATTEMPTS_FILE

# How fast a machine was, and what was executed again after a kill.
UNREPEATABLE = {"tokens_per_second", "train_seconds", "peak_memory_bytes", "mfu", "executed_flops"}
# Logged once more when the run ends, at its last step.
TOTALS = {"train_seconds", "executed_flops"}
# Columns of the run table that tell the two studies, or the speed and place they ran at, apart.
OWN_COLUMNS = ["run_id", "study", "train_seconds", "tokens_per_second", "commit"]

Metrics = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Recorded:
    """One run: how it ended, and (step, value) of each metric in the order of the steps."""

    status: str
    metrics: Metrics

    @property
    def val_loss(self) -> float:
        """The last, in nats per token; NaN where there is none."""
        return self.metrics.get("val_loss", [(0, float("nan"))])[-1][1]


def recorded(uri: str, study: str) -> dict[str, list[Recorded]]:
    """All runs of each point of the study; more than one is a mistake of the engine's."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None, f"{study} has no runs"
    points: dict[str, list[Recorded]] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        if point_id := run.data.tags.get("point_id"):
            metrics = {
                name: sorted(
                    (metric.step, metric.value)
                    for metric in client.get_metric_history(run.info.run_id, name)
                )
                for name in run.data.metrics
            }
            status = f"{run.data.tags['status']} {run.info.status}"
            points.setdefault(point_id, []).append(Recorded(status, metrics))
    return points


def differences(twin: dict[str, list[Recorded]], disturbed: dict[str, list[Recorded]]) -> list[str]:
    """What is not as it should be, a line each; none when nothing was lost, repeated or changed."""
    found = [f"{point_id}: only in one of the two" for point_id in twin.keys() ^ disturbed.keys()]
    for point_id in sorted(twin.keys() & disturbed.keys()):
        here = disturbed[point_id]
        if len(here) != 1:
            found.append(f"{point_id}: {len(here)} runs")
        found += [f"{point_id}: {text}" for text in _changes(twin[point_id][0], here[0])]
    return found


def _changes(twin: Recorded, disturbed: Recorded) -> list[str]:
    found = []
    if not twin.status == disturbed.status == "finished FINISHED":
        found.append(f"{twin.status}, {disturbed.status}")
    for name in sorted(twin.metrics.keys() | disturbed.metrics.keys()):
        expected, values = twin.metrics.get(name, []), disturbed.metrics.get(name, [])
        steps = Counter(step for step, _ in values)
        if steps.keys() != {step for step, _ in expected}:
            found.append(f"{name}: other steps than the twin's")
        last = max(steps, default=0)
        repeated = [n for n, count in steps.items() if count > 1 and (name, n) not in _again(last)]
        if repeated:
            found.append(f"{name}: more than once at step {repeated}")
        if name not in UNREPEATABLE and values != expected:
            found.append(f"{name}: other values than the twin's")
    return found


def _again(last: int) -> set[tuple[str, int]]:
    return {(name, last) for name in TOTALS}


def table_differences(uri: str, twin: str, disturbed: str) -> list[str]:
    """Columns of the two run tables, as `analysis` reads them, that are not equal."""
    left, right = (
        runs.load_mlflow(uri, name).set_index("point_id").sort_index() for name in (twin, disturbed)
    )
    shared = [column for column in left.columns if column not in OWN_COLUMNS]
    return [f"run table: {name} differs" for name in shared if not left[name].equals(right[name])]


def print_table(
    study: Study, twin: dict[str, list[Recorded]], disturbed: dict[str, list[Recorded]]
) -> None:
    """A line a point: both final losses in full, the steps recorded, the attempts it took."""
    print(f"{'point':<56} {'twin val_loss':>20} {'disturbed':>20}  equal  rows  attempts")
    for point in study.points:
        one, other = twin[point.id][0], disturbed[point.id][0]
        equal = "yes" if one.val_loss.hex() == other.val_loss.hex() else "NO"
        rows = len(other.metrics.get("train_loss", []))
        print(
            f"{point.id:<56} {one.val_loss!r:>20} {other.val_loss!r:>20}  {equal:<5}  {rows:>4}"
            f"  {_attempts(study.run_dir(point)):>8}"
        )


def _attempts(run_dir: Path) -> int:
    return (run_dir / ATTEMPTS_FILE).read_text().count("\n")
