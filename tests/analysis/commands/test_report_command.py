"""The command line and the imports of the analysis, each in a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]


def analysis(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analysis", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_report_prints_the_findings(ladder: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    ladder().to_csv(tmp_path / "runs.csv", index=False)
    done = analysis("report", tmp_path / "runs.csv", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dense: loss falls as C^-0.05")
    assert done.stdout.endswith(f"6 runs entered, 0 did not: {tmp_path / 'out' / 'report.md'}\n")


def test_curves_beside_the_run_table_are_in_the_report(tmp_path: Path) -> None:
    """The report of a report's own folder is the same report, curves included."""
    exported = ROOT / "tests" / "analysis" / "exported"
    first, second = tmp_path / "first", tmp_path / "second"
    assert analysis("report", exported / "runs.csv", "--out", first).returncode == 0
    assert (first / "curves.csv").read_bytes() == (exported / "curves.csv").read_bytes()
    done = analysis("report", first / "runs.csv", "--out", second)
    assert done.returncode == 0
    for name in ("curves.csv", "curves.svg", "report.html", "report.md", "fits.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    (first / "curves.csv").write_text("point_id\n")
    refused = analysis("report", first / "runs.csv", "--out", second)
    assert refused.returncode == 2 and "curves.csv: no column 'arm'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either RUNS.csv, or both"),
        (["--study", "known"], "give either RUNS.csv, or both"),
        (["absent.csv"], "absent.csv: cannot be read as CSV"),
        (["--mlflow", "sqlite:///absent.db", "--study", "known"], "no such file"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = analysis("report", *arguments, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_one_line(ladder: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    ladder().to_csv(runs, index=False)
    done = analysis("report", runs, "--out", runs)
    assert done.returncode == 2
    assert "choose another --out" in done.stderr and done.stderr.count("\n") == 1


def test_help_shows_an_example() -> None:
    assert "python -m analysis report --mlflow" in analysis("report", "--help").stdout


def test_imports_need_no_torch_no_ray_and_none_of_the_other_rooms() -> None:
    blocked = ("torch", "ray", "mlflow", "study", "workloads", "kernels", "cluster")
    files = sorted((ROOT / "analysis").rglob("[a-z]*.py"))
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert "analysis.report.report" in modules
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"import importlib\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
