"""`python -m analysis report`: what it prints, what it writes, and how it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from analysis.commands.app import app

EXPORTED = Path(__file__).parents[1] / "exported"


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_report_prints_the_findings(ladder: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    ladder().to_csv(tmp_path / "runs.csv", index=False)
    done = report(tmp_path / "runs.csv", "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("dense: loss falls as C^-0.05")
    assert done.stdout.endswith(f"6 runs entered, 0 did not: {tmp_path / 'out' / 'report.md'}\n")


def test_studies_are_compared_in_bits_a_byte(
    ladder: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    """What one study loses in nats it wins in bits: a report takes the loss that it is told."""
    for study, nats, bits in (("a", 1.0, 0.5), ("b", 1.1, 0.4)):
        runs = ladder().query("arm == 'dense'")
        runs = runs.assign(study=study, bits_per_byte=bits * runs["val_loss"])
        runs.assign(val_loss=nats * runs["val_loss"]).to_csv(tmp_path / f"{study}.csv", index=False)
    tables, out = (tmp_path / "a.csv", tmp_path / "b.csv"), tmp_path / "out"
    assert "one tokenizer only" in report(*tables, "--out", out).stdout
    nats = json.loads((out / "fits.json").read_text())
    done = report(*tables, "--loss-col", "bits_per_byte", "--out", out)
    assert done.exit_code == 0 and "one tokenizer" not in done.stdout
    bits = json.loads((out / "fits.json").read_text())
    assert [arm["arm"] for arm in bits["arms"]] == ["a/dense", "b/dense"]
    for fits, ratio in ((nats, 1.1), (bits, 0.8)):
        a, b = (arm["params"]["a"] for arm in fits["arms"])
        assert b / a == pytest.approx(ratio)
    assert "bits per byte" in bits["law"] and "(bits/byte)" in (out / "report.md").read_text()


def test_curves_beside_the_run_table_are_in_the_report(tmp_path: Path) -> None:
    """The report of a report's own folder is the same report, curves included."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert report(EXPORTED / "runs.csv", "--out", first).exit_code == 0
    assert (first / "curves.csv").read_bytes() == (EXPORTED / "curves.csv").read_bytes()
    assert report(first / "runs.csv", "--out", second).exit_code == 0
    for name in ("curves.csv", "curves.svg", "report.html", "report.md", "fits.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    (first / "curves.csv").write_text("point_id\n")
    refused = report(first / "runs.csv", "--out", second)
    assert refused.exit_code == 2 and "curves.csv: no column 'arm'" in refused.stderr


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
    done = report(*arguments, "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_one_line(ladder: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    ladder().to_csv(runs, index=False)
    done = report(runs, "--out", runs)
    assert done.exit_code == 2
    assert "choose another --out" in done.stderr and done.stderr.count("\n") == 1
