"""Tables from elsewhere: what enters, what stays out and why, and one clear line for a bad one."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.tables.errors import RunTableError
from analysis.tables.table import Columns, drop_highest, read_table, table_of, with_column

FRAME = pd.DataFrame(
    {
        "N": [1e8, 2e8, 4e8, 8e8],
        "C": [1e18, 2e18, 4e18, 8e18],
        "L": [3.2, 3.0, 2.9, 2.8],
        "kind": ["a", "b", "a", "b"],
    }
)
COLUMNS = Columns(params="N", flops="C", loss="L")
NEEDS = ("params", "tokens")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_three_formats_give_one_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"runs.{suffix}"
    if suffix == "csv":
        FRAME.to_csv(path, index=False)
    elif suffix == "jsonl":
        FRAME.to_json(path, orient="records", lines=True)
    else:
        FRAME.to_parquet(path)
    table = read_table(path, COLUMNS, NEEDS)
    assert table.n == 4
    assert table.values["tokens"] == pytest.approx(FRAME["C"] / (6 * FRAME["N"]))
    assert "tokens = C / (6 N)" in table.derived


def test_integers_beyond_64_bits_do_not_overflow() -> None:
    frame = pd.DataFrame({"N": [7 * 10**9, 10**10], "D": [10**13, 10**13], "L": [2.0, 1.9]})
    table = table_of(frame, "t", Columns(params="N", tokens="D", loss="L"), ("flops",))
    assert table.values["flops"] == pytest.approx([4.2e23, 6e23])
    huge = pd.DataFrame({"N": [str(10**25)], "D": ["1e3"], "L": ["2"]})
    columns = Columns(params="N", tokens="D", loss="L")
    assert table_of(huge, "t", columns, NEEDS).values["params"][0] == 1e25


def test_every_row_left_out_is_listed_with_its_rule() -> None:
    rows = [
        {"N": 1e8, "D": 1e9, "L": 3.0, "status": "finished"},
        {"N": 1e8, "D": 1e9, "L": 3.0, "status": "finished"},
        {"N": 2e8, "D": 1e9, "L": math.nan, "status": "finished"},
        {"N": 2e8, "D": 1e9, "L": 0.0, "status": "FINISHED"},
        {"N": 2e8, "D": 1e9, "L": -2.0, "status": "finished"},
        {"N": 2e8, "D": 1e9, "L": 9.0, "status": "diverged"},
        {"N": 2e8, "D": 1e9, "L": 2.8, "status": "crashed"},
        {"N": -1, "D": 1e9, "L": 2.8, "status": "finished"},
        {"N": 4e8, "D": 1e9, "L": 2.7, "status": "finished"},
    ]
    columns = Columns(params="N", tokens="D", loss="L")
    table = table_of(pd.DataFrame(rows), "t", columns, NEEDS)
    assert list(table.row) == [1, 9]
    reasons = {one.row: one.reason for one in table.excluded}
    assert reasons[2].startswith("duplicate")
    assert reasons[3] == "loss is nan, not a finite positive number"
    assert reasons[4].startswith("loss is 0") and reasons[5].startswith("loss is -2")
    assert reasons[6] == "diverged" and "crashed" in reasons[7]
    assert reasons[8].startswith("params is -1")
    everything = table.with_left_out()
    assert everything is not None and sorted(everything.row) == [1, 6, 7, 9]


def test_dropping_the_highest_keeps_them_for_the_fit_with_them() -> None:
    table = drop_highest(table_of(FRAME, "t", COLUMNS, NEEDS), 2)
    assert list(table.loss) == [2.9, 2.8] and len(table.excluded) == 2
    everything = table.with_left_out()
    assert everything is not None and everything.n == 4
    with pytest.raises(RunTableError, match="--drop-highest 4 leaves none of 4"):
        drop_highest(table_of(FRAME, "t", COLUMNS, NEEDS), 4)


def test_conventions_are_not_mixed_unless_one_is_kept() -> None:
    frame = FRAME.assign(flop_convention=["paper", "paper", "6nd", "paper"])
    with pytest.raises(RunTableError, match="mixes 6nd, paper"):
        table_of(frame, "t", COLUMNS, ("flops",))
    kept = table_of(frame, "t", COLUMNS, ("flops",), keep="paper")
    assert kept.n == 3 and kept.convention == "paper"
    assert "counted as '6nd'" in kept.excluded[0].reason


def test_another_column_in_place_of_one(tmp_path: Path) -> None:
    FRAME.assign(M=FRAME["N"] * 2).to_csv(tmp_path / "runs.csv", index=False)
    table = drop_highest(read_table(tmp_path / "runs.csv", COLUMNS, NEEDS), 1)
    assert list(with_column(table, "params", "M").values["params"]) == [4e8, 8e8, 1.6e9]


@pytest.mark.parametrize(
    ("frame", "columns", "words"),
    [
        (FRAME, Columns(params="n", flops="C", loss="L"), "no column 'n'.*--params-col"),
        (FRAME, Columns(params="N", flops="C", loss="Loss"), "no column 'Loss'.*--loss-col"),
        (FRAME, Columns(params="N", loss="L"), "needs tokens"),
        (FRAME, Columns(params="N", flops="C", loss="kind"), "column 'kind', row 1: 'a'"),
        (FRAME, Columns(params="N", flops="C", loss="L", by="Kind"), "nearest: 'kind'.*--by"),
        (FRAME.head(0), COLUMNS, "no row below the header"),
        (FRAME.assign(L=-1.0), COLUMNS, "none of 4 rows can be fitted"),
    ],
)
def test_mistakes_name_file_column_and_remedy(
    frame: pd.DataFrame, columns: Columns, words: str
) -> None:
    with pytest.raises(RunTableError, match=words) as caught:
        table_of(frame, "runs.csv", columns, NEEDS)
    assert str(caught.value).startswith("runs.csv: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Status", "State", "run_state", "STATUS "])
def test_a_status_by_another_name_is_a_status(name: str, tmp_path: Path) -> None:
    words = ["FINISHED", "crashed", "finished ", "KILLED"]
    FRAME.assign(**{name: words}).to_csv(tmp_path / "runs.csv", index=False)
    table = read_table(tmp_path / "runs.csv", COLUMNS, NEEDS)
    assert list(table.row) == [1, 3]
    assert "unknown status 'crashed'" in table.excluded[0].reason
    FRAME.assign(**{name: words, "status": "finished"}).to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(RunTableError, match="may be each run's status; name one with --status-col"):
        read_table(tmp_path / "two.csv", COLUMNS, NEEDS)
    chosen = replace(COLUMNS, status="status")
    assert read_table(tmp_path / "two.csv", chosen, NEEDS).n == 4


@pytest.mark.parametrize(
    ("renamed", "words"),
    [
        ({"tokens": "Tokens"}, "'Tokens' may be the column 'tokens'.*--tokens-col"),
        ({"params": "# params"}, "'# params' may be the column 'params'.*--params-col"),
        ({"val_loss": "Val Loss"}, "'Val Loss' may be the column 'val_loss'.*--loss-col"),
        ({"other": "PARAMS"}, "'params' or 'PARAMS' may be the column 'params'"),
        ({"other": "FLOP convention"}, "'FLOP convention' may be .*--convention-col"),
    ],
)
def test_a_column_of_nearly_the_platforms_name_is_pointed_out(
    renamed: dict[str, str], words: str
) -> None:
    """Not passed over: without `tokens`, these would be derived from FLOPs."""
    names = {"N": "params", "C": "train_flops", "L": "val_loss", "kind": "other"}
    frame = FRAME.rename(columns=names).assign(tokens=FRAME["C"] / 6 / FRAME["N"])
    assert table_of(frame, "t", Columns(), NEEDS).derived == ()
    with pytest.raises(RunTableError, match=words):
        table_of(frame.rename(columns=renamed), "t", Columns(), NEEDS)


@pytest.mark.parametrize(
    "cell", ["True", True, "1_000", "1,000", "3.5 GB", "0x10", "٣", "-", "1.5e", [1]]
)
def test_what_is_no_plain_number_is_no_number(cell: object) -> None:
    frame = FRAME.astype({"L": "object"})
    frame["L"] = [3.2, 3.0, 2.9, cell]
    with pytest.raises(RunTableError, match=r"column 'L', row 4: .* is not a number"):
        table_of(frame, "t", COLUMNS, NEEDS)
    with pytest.raises(RunTableError, match=r"column 'L', row 1: .* is not a number"):
        table_of(FRAME.assign(L=True), "t", COLUMNS, NEEDS)


@pytest.mark.parametrize("cell", ["", " ", "N/A", "n/a", "NA", "null", "None", "NaN", None, "inf"])
def test_a_cell_without_a_value_leaves_its_row_out(cell: object) -> None:
    frame = FRAME.astype({"L": "object"})
    frame["L"] = [3.2, 3.0, 2.9, cell]
    table = table_of(frame, "t", COLUMNS, NEEDS)
    assert list(table.row) == [1, 2, 3] and "not a finite positive" in table.excluded[0].reason


def test_rows_that_only_their_index_tells_apart_are_duplicates(tmp_path: Path) -> None:
    doubled = pd.concat([FRAME, FRAME.head(2)], ignore_index=True)
    doubled.to_csv(tmp_path / "runs.csv")
    table = read_table(tmp_path / "runs.csv", COLUMNS, NEEDS)
    assert [one.row for one in table.excluded] == [5, 6]
    named = doubled.assign(run=list("abcdef")).set_index("run")
    named.to_csv(tmp_path / "named.csv")
    assert read_table(tmp_path / "named.csv", COLUMNS, NEEDS).n == 6
    text = (tmp_path / "runs.csv").read_text().replace("4,100000000.0", "4,1e8")
    (tmp_path / "runs.csv").write_text(text)
    assert "4,1e8" in text and read_table(tmp_path / "runs.csv", COLUMNS, NEEDS).n == 4


@pytest.mark.parametrize("name", ["runs.csv", "runs.jsonl", "runs.parquet"])
def test_files_that_are_not_what_they_say(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunTableError, match="cannot be read as"):
        read_table(tmp_path / name, COLUMNS, NEEDS)
    with pytest.raises(RunTableError, match="cannot be read as"):
        read_table(tmp_path / f"absent-{name}", COLUMNS, NEEDS)


def test_arms_come_in_order_of_appearance() -> None:
    table = table_of(FRAME, "t", Columns(params="N", flops="C", loss="L", by="kind"), NEEDS)
    assert {name: list(arm.row) for name, arm in table.arms().items()} == {"a": [1, 3], "b": [2, 4]}
    assert np.isfinite(table.loss).all()


def test_rows_left_out_stay_with_their_arm() -> None:
    frame = pd.DataFrame(
        {
            "train_flops": [1e10, 1e11, 1e12, 1e10, 1e11, 1e12],
            "val_loss": [3.0, 2.5, 2.0, 3.1, 2.6, 2.2],
            "arm": list("aaabbb"),
            "status": [*["finished"] * 5, "running"],
        }
    )
    arms = table_of(frame, "frame", Columns(by="arm"), ("flops",)).arms()
    assert arms["a"].left_out is None and arms["a"].excluded == ()
    assert arms["b"].left_out is not None and arms["b"].left_out.n == 1
    assert [(row.row, row.arm) for row in arms["b"].excluded] == [(6, "b")]


def test_lists_and_objects_are_labels_too(tmp_path: Path) -> None:
    rows = [{"val_loss": 2.0 + i, "train_flops": 1e18, "arm": ["x"], "more": {}} for i in range(3)]
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*rows, rows[0]]))
    table = read_table(path, Columns(by="arm"), ("flops",))
    assert table.n == 3 and [row.row for row in table.excluded] == [4]
    assert list(table.arms()) == ["['x']"]


@pytest.mark.parametrize(
    ("lines", "words"), [('{"a": 1}\n\nnot json', "line 3: "), ("1", "line 1 is not an object")]
)
def test_a_line_that_is_no_object_is_named(lines: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text(lines)
    with pytest.raises(RunTableError, match=words):
        read_table(tmp_path / "runs.jsonl", Columns(), ("flops",))
