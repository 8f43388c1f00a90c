"""The run table: what may enter a fit, what may not, and how a bad table is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis.tables.errors import RunTableError
from analysis.tables.runs import (
    RUN_COLUMNS,
    load_csv,
    load_mlflow,
    load_studies,
    mlflow_row,
    run_table,
    split_usable,
)

Row = Callable[..., dict[str, Any]]


def table_of(*rows: dict[str, Any]) -> pd.DataFrame:
    return run_table(pd.DataFrame(rows), "test")


def test_columns_types_and_order(row: Row) -> None:
    rows = [row("m", "lowrank 31.25%"), row("m", train_flops=1e13), row("s")]
    table = table_of(*rows)
    assert list(table.columns) == list(RUN_COLUMNS)
    assert list(table["point_id"]) == ["s-dense", "m-dense", "m-lowrank 31.25%"]
    for name, column in RUN_COLUMNS.items():
        assert str(table[name].dtype) == ("str" if column.kind == "text" else "float64")
    pd.testing.assert_frame_equal(table, table_of(*reversed(rows)))


def test_large_counts_do_not_overflow(row: Row) -> None:
    table = table_of(row(params="7000000000", tokens=10**13))
    assert (table["params"] * table["tokens"]).item() == 7e22


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "diverged"}, "diverged"),
        ({"status": "failed"}, "failed"),
        ({"status": "running", "val_loss": 2.0}, "still running"),
        ({"status": "queued", "val_loss": None}, "queued: planned, no run"),
        ({"status": "done"}, "unknown status 'done'"),
        ({"status": " Failed"}, "failed"),
        ({"val_loss": "N/A"}, "val_loss is nan"),
        ({"arm": ""}, "arm is empty"),
        ({"point_id": None}, "point_id is empty"),
        ({"flop_convention": ""}, "flop_convention is empty"),
        ({"val_loss": math.nan}, "val_loss is nan"),
        ({"val_loss": math.inf}, "val_loss is inf"),
        ({"val_loss": 0.0}, "val_loss is 0"),
        ({"val_loss": -1.5}, "val_loss is -1.5"),
        ({"train_flops": 0}, "train_flops is 0"),
        ({"train_flops": None}, "train_flops is nan"),
    ],
)
def test_clean_says_why_a_run_stays_out(row: Row, changes: dict[str, Any], reason: str) -> None:
    used, excluded = split_usable(table_of(row("m"), row("s", **changes)))
    assert list(used["point_id"]) == ["m-dense"]
    assert len(excluded) == 1
    assert excluded["reason"].item().startswith(reason)


def test_of_duplicates_the_first_usable_enters(row: Row) -> None:
    attempts = [
        row(run_id="b", status="failed", val_loss=math.nan),
        row(run_id="c", val_loss=2.4),
        row(run_id="a", val_loss=2.3),
    ]
    used, excluded = split_usable(table_of(*attempts))
    assert list(used["run_id"]) == ["c"]
    reasons = dict(zip(excluded["run_id"], excluded["reason"], strict=True))
    assert reasons["b"] == "failed"
    assert reasons["a"].startswith("duplicate point_id")


def test_a_status_is_read_without_case(row: Row) -> None:
    used, _ = split_usable(table_of(row("s", status="FINISHED"), row("m", status="Finished ")))
    assert len(used) == 2


def test_mixed_conventions_are_refused(row: Row) -> None:
    rows = row("s"), row("m", flop_convention="6nd")
    with pytest.raises(RunTableError, match="mixes 6nd, paper"):
        split_usable(table_of(*rows))
    used, _ = split_usable(table_of(rows[0], rows[1] | {"status": "diverged"}))
    assert len(used) == 1


def test_csv_round_trip_keeps_all_bits(row: Row, tmp_path: Path) -> None:
    table = table_of(row(val_loss=0.1 + 0.2, train_flops=1.2345678901234567e20))
    table.to_csv(tmp_path / "runs.csv", index=False)
    pd.testing.assert_frame_equal(load_csv(tmp_path / "runs.csv"), table)


def test_csv_needs_only_the_required_columns(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "point_id,status,arm,train_flops,flop_convention,val_loss,notes\n"
        "007,finished,dense,1e18,6nd,3.1,first\n"
    )
    table = load_csv(path)
    assert list(table.columns) == list(RUN_COLUMNS)
    assert table["point_id"].item() == "007"
    assert math.isnan(table["params"].item())


def test_a_table_of_two_columns_is_a_run_table(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("C,loss\n1e10,3.2\n1e11,2.9\n")
    with pytest.raises(RunTableError, match=r"'train_flops' and no column 'val_loss' .*add them"):
        load_csv(path)
    table = load_csv(path, {"train_flops": "C", "val_loss": "loss"})
    used, excluded = split_usable(table)
    assert len(used) == 2 and excluded.empty
    assert set(used["arm"]) == {"all runs"} and used["point_id"].is_unique
    assert list(used["flop_convention"]) == ["unstated"] * 2
    with pytest.raises(RunTableError, match=r"no column 'los' \(nearest: 'loss'\) for val_loss"):
        load_csv(path, {"val_loss": "los"})


def test_studies_lie_beside_each_other_under_their_names(row: Row, tmp_path: Path) -> None:
    paths = [tmp_path / "bytes.csv", tmp_path / "other.csv"]
    for path, study in zip(paths, ("bytes", None), strict=True):
        pd.DataFrame([row(study=study), row("m", study=study)]).to_csv(path, index=False)
    used, excluded = split_usable(load_studies(paths))
    assert len(used) == 4 and excluded.empty
    assert set(used["arm"]) == {"bytes/dense", "other/dense"}
    pd.testing.assert_frame_equal(load_studies(paths[:1]), load_csv(paths[0]))
    with pytest.raises(RunTableError, match=r"study 'bytes' is in .*bytes.csv too"):
        load_studies([paths[0], paths[0]])


def test_a_size_of_any_name_is_a_column_and_other_text_is_not(tmp_path: Path) -> None:
    path = tmp_path / "kinds.csv"
    path.write_text(
        "point_id,status,arm,train_flops,flop_convention,val_loss,ffn_kind,ffn_order,ffn_note\n"
        "a,finished,circulant o4,1e18,6nd,3.1,circulant,4,fast\n"
        "b,finished,dense,1e18,6nd,3.2,dense,,slow\n"
    )
    table = load_csv(path)
    assert list(table.columns) == [*RUN_COLUMNS, "ffn_order"]
    assert table.set_index("point_id")["ffn_order"].fillna(0).to_dict() == {"a": 4.0, "b": 0.0}


def test_missing_column_names_the_nearest(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    pd.DataFrame([row()]).rename(columns={"val_loss": "validation_loss"}).to_csv(path)
    with pytest.raises(RunTableError) as caught:
        load_csv(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert "no column 'val_loss' (nearest: 'validation_loss')" in message


def test_bad_number_names_its_cell(row: Row) -> None:
    with pytest.raises(RunTableError, match=r"column 'tokens', row 2: '1\.5B' is not a number"):
        table_of(row("s"), row("m", tokens="1.5B"))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00bad", b'a,b\n"1,2\n3,4,5\n'])
def test_unreadable_csv_is_one_clear_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunTableError, match=r"runs\.csv: cannot be read as CSV") as caught:
        load_csv(path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, MlflowClient, str]:
    """A real MLflow store: its URI, a client, and the experiment `known` with a parent run."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("known")
    client.create_run(experiment, tags={"role": "study"})
    return uri, client, experiment


def record(client: MlflowClient, experiment: str, values: dict[str, Any]) -> str:
    present = {name: value for name, value in values.items() if value is not None}
    homes = {name: RUN_COLUMNS[name].home for name in present}
    tags = {name: str(value) for name, value in present.items() if homes[name] == "tag"}
    run_id = client.create_run(experiment, tags=tags).info.run_id
    for name, value in present.items():
        if homes[name] == "param":
            client.log_param(run_id, name, value)
        if homes[name] == "metric":
            client.log_metric(run_id, name, value)
    return run_id


def test_mlflow_is_read_as_recorded(store: tuple[str, MlflowClient, str], row: Row) -> None:
    uri, client, experiment = store
    dense = record(client, experiment, row("s", val_loss=9.0))
    client.log_metric(dense, "val_loss", 2.5, step=100)
    # Progress so far, under the names of two params.
    client.log_metric(dense, "tokens", 17.0)
    client.log_metric(dense, "train_flops", 17.0)
    lowrank = record(client, experiment, row("s", "lowrank 31.25%", val_loss=math.nan))
    infinite = record(client, experiment, row("m", val_loss=math.inf, train_flops=1e13))
    client.delete_run(record(client, experiment, row("l")))

    table = load_mlflow(uri, "known")
    expected = table_of(
        row("s", run_id=dense),
        row("s", "lowrank 31.25%", run_id=lowrank, val_loss=math.nan),
        row("m", run_id=infinite, val_loss=math.inf, train_flops=1e13),
    )
    pd.testing.assert_frame_equal(table, expected)


def test_mlflow_is_read_page_by_page(
    store: tuple[str, MlflowClient, str], row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, client, _ = store
    experiment = client.create_experiment("paged")
    for size in "abcde":
        record(client, experiment, row(size))
    monkeypatch.setattr("analysis.tables.tracking.PAGE", 2)
    assert list(load_mlflow(uri, "paged")["preset"]) == list("abcde")


@pytest.mark.parametrize(
    "identity",
    ["garbage", "[]", "null", "{}", '{"steps": 5}', '{"steps": "x", "model": {}}',
     '{"steps": 5, "model": []}', '{"steps": 5, "model": {"guide": 3}}',
     '{"steps": 5, "model": {"guide": {"mode": "fixed_flops"}}}'],
)  # fmt: skip
def test_a_record_that_someone_edited_is_one_line(identity: str) -> None:
    """Of runs recorded before there was `config.steps`, the identity says the steps."""
    tags = {"point_id": "m-dense", "identity": identity}
    with pytest.raises(
        RunTableError, match="run abc of point m-dense has a tag identity"
    ) as caught:
        mlflow_row("abc", tags, {"steps": "5"}, {})
    assert "edited it in MLflow; set it back" in str(caught.value)
    assert mlflow_row("abc", tags, {"steps": "5", "config.steps": "5"}, {})["steps"] == "5"


def test_steps_of_an_old_record_are_those_of_the_whole_run() -> None:
    guide = '{"steps": 10, "model": {"guide": {"mode": "fixed_flops", "ratio": 0.4}}}'
    for identity, steps in ((guide, 14), ('{"steps": 10, "model": {}}', 10)):
        assert mlflow_row("abc", {"identity": identity}, {"steps": "10"}, {})["steps"] == steps


def test_study_without_runs_is_an_empty_table(store: tuple[str, MlflowClient, str]) -> None:
    uri, client, _ = store
    client.create_experiment("fresh")
    table = load_mlflow(uri, "fresh")
    assert table.empty and list(table.columns) == list(RUN_COLUMNS)


def test_unknown_study_names_the_nearest(store: tuple[str, MlflowClient, str]) -> None:
    with pytest.raises(RunTableError, match=r"no study 'knwon' \(nearest: 'known'\)"):
        load_mlflow(store[0], "knwon")


def test_mistyped_store_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(RunTableError, match="no such file"):
        load_mlflow(f"sqlite:///{tmp_path / 'mlfow.db'}", "known")
    assert not list(tmp_path.iterdir())


def test_unknown_scheme_is_one_clear_line() -> None:
    with pytest.raises(RunTableError, match="gopher://store") as caught:
        load_mlflow("gopher://store", "known")
    assert "\n" not in str(caught.value)
