"""One rule for every command: which rows enter, whatever reads the table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.commands.app import app
from analysis.tables.columns import Columns
from analysis.tables.errors import RunTableError
from analysis.tables.runs import load_csv, split_usable
from analysis.tables.table import read_table

Row = Callable[..., dict[str, Any]]


@pytest.fixture
def runs(row: Row) -> pd.DataFrame:
    rows = [
        row(size, arm, train_flops=C, params=C / 1e9, tokens=1e8, val_loss=4.0 - i / 2)
        for arm in ("dense", "lowrank 31.25%")
        for i, (size, C) in enumerate(zip("sml", (1e15, 2e15, 4e15), strict=True))
    ]
    return pd.DataFrame(rows)


def changed(runs: pd.DataFrame, **cells: object) -> pd.DataFrame:
    """The runs with other cells in the first row."""
    runs = runs.astype(dict.fromkeys(cells, "object"))
    for name, value in cells.items():
        runs.loc[0, name] = value
    return runs


def again(runs: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """The runs, and two of them once more with other columns."""
    return pd.concat([runs, runs.head(2).assign(**columns)])


@pytest.mark.parametrize(
    ("make", "entered"),
    [
        (lambda runs: runs, "sml sml"),
        (lambda runs: again(runs), "sml sml"),
        (lambda runs: again(runs, val_loss=9.0), "sml sml"),
        (lambda runs: again(runs, commit="other"), "sml sml"),
        (lambda runs: again(runs, preset=["x", "y"], point_id=["x", "y"]), "smlxy sml"),
        (lambda runs: again(runs, val_loss=None), "sml sml"),
        (lambda runs: pd.concat([runs.head(1).assign(status="failed"), runs]), "sml sml"),
        (lambda runs: runs.assign(point_id="one"), "s "),
        (lambda runs: changed(runs, point_id=" "), "ml sml"),
        (lambda runs: changed(runs, flop_convention=None), "ml sml"),
        (lambda runs: changed(runs, flop_convention="paper "), "sml sml"),
        (lambda runs: changed(runs, arm=""), "ml sml"),
        (lambda runs: changed(runs, arm=" dense  "), "sml sml"),
        (lambda runs: changed(runs, status="running", flop_convention="6nd"), "ml sml"),
        (lambda runs: changed(runs, val_loss="n/a"), "ml sml"),
        (lambda runs: changed(runs, train_flops=0), "ml sml"),
        (lambda runs: changed(runs, seed="null"), "sml sml"),
        (lambda runs: runs.rename(columns={"status": "Run State"}), "sml sml"),
    ],
)
def test_fit_and_report_take_the_same_rows(
    make: Callable[[pd.DataFrame], pd.DataFrame], entered: str, runs: pd.DataFrame, tmp_path: Path
) -> None:
    make(runs).to_csv(tmp_path / "runs.csv", index=False)
    used, excluded = split_usable(load_csv(tmp_path / "runs.csv"))
    table = read_table(tmp_path / "runs.csv", Columns(by="arm"), ("flops",))
    dense, lowrank = (set(size) for size in entered.split(" "))
    for name, expected in (("dense", dense), ("lowrank 31.25%", lowrank)):
        assert set(used["preset"][used["arm"] == name]) == expected
        rows = table.row[table.arm == name] - 1
        assert set(table.file.frame["preset"].iloc[rows]) == expected
    assert len(used) == table.n == len(dense) + len(lowrank)
    assert sorted(excluded["reason"]) == sorted(
        one.reason.replace("loss is", "val_loss is").replace("flops is", "train_flops is")
        for one in table.excluded
    )


def test_no_convention_at_all_enters_no_fit_of_flops(runs: pd.DataFrame, tmp_path: Path) -> None:
    runs.assign(flop_convention=" ").to_csv(tmp_path / "runs.csv", index=False)
    used, _ = split_usable(load_csv(tmp_path / "runs.csv"))
    assert used.empty
    with pytest.raises(RunTableError, match=r"none of 6 rows.*flop_convention is empty"):
        read_table(tmp_path / "runs.csv", Columns(), ("flops",))
    assert read_table(tmp_path / "runs.csv", Columns(), ("params", "tokens")).n == 6


def test_a_point_has_many_rows_where_they_are_its_checkpoints(
    runs: pd.DataFrame, tmp_path: Path
) -> None:
    runs.assign(point_id=["a", "a", "a", "b", "b", None]).to_csv(tmp_path / "runs.csv", index=False)
    table = read_table(tmp_path / "runs.csv", Columns(group="point_id"), ("flops",))
    assert table.n == 5 and table.excluded[0].reason == "point_id is empty"


def test_runs_of_another_convention_are_not_fitted_with_those_left_out(
    runs: pd.DataFrame, tmp_path: Path
) -> None:
    marked = changed(runs, flop_convention="6nd")
    marked.loc[1, "status"] = "diverged"
    marked.to_csv(tmp_path / "runs.csv", index=False)
    table = read_table(tmp_path / "runs.csv", Columns(), ("flops",), keep="paper")
    everything = table.with_left_out()
    assert everything is not None and sorted(everything.row) == [2, 3, 4, 5, 6]


COMMANDS = (
    ("fit", "{runs}", "--law", "compute", "--bootstrap", "0"),
    ("compare", "{runs}", "--bootstrap", "100"),
    ("report", "{runs}", "--out", "{out}"),
    ("plot", "scaling", "{runs}", "--out", "{out}"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("State", "'status' or 'State' may be each run's status"),
        ("_state", "'status' or '_state' may be each run's status"),
        ("run status", "'status' or 'run status' may be each run's status"),
        ("Val Loss", "'val_loss' or 'Val Loss' may be the column 'val_loss'"),
        ("train-flops", "'train_flops' or 'train-flops' may be the column 'train_flops'"),
        ("FLOP convention", "'flop_convention' or 'FLOP convention' may be the column"),
        ("Point ID", "'point_id' or 'Point ID' may be the column 'point_id'"),
    ],
)
def test_what_could_be_two_things_is_refused_by_every_command(
    more: str, words: str, command: tuple[str, ...], runs: pd.DataFrame, tmp_path: Path
) -> None:
    path, out = tmp_path / "runs.csv", tmp_path / "out"
    runs.assign(**{more: "failed"}).to_csv(path, index=False)
    done = CliRunner().invoke(app, [part.format(runs=path, out=out) for part in command])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{path}: {words}" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_mixed_conventions_name_the_file_in_every_command(
    command: tuple[str, ...], runs: pd.DataFrame, tmp_path: Path
) -> None:
    path, out = tmp_path / "runs.csv", tmp_path / "out"
    changed(runs, flop_convention="6nd").to_csv(path, index=False)
    done = CliRunner().invoke(app, [part.format(runs=path, out=out) for part in command])
    assert done.exit_code == 2
    assert f"{path}: column 'flop_convention' mixes 6nd, paper" in done.stderr


def test_a_pair_without_a_name_is_refused(runs: pd.DataFrame, tmp_path: Path) -> None:
    changed(runs, preset="").to_csv(tmp_path / "runs.csv", index=False)
    arguments = ["compare", str(tmp_path / "runs.csv"), "--pair-col", "preset"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and "column 'preset', row 1: it is empty" in done.stderr
