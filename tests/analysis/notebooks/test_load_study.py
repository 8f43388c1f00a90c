"""`load_study` finds a study by what one knows of it; a mistake is one line with the remedy."""

from pathlib import Path

import pytest

from analysis import StudyError, load_study

EXPORTED = Path(__file__).parents[1] / "exported"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STUDY_RUNS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder with the study `quickstart`, and one without a report."""
    for name in ("runs.csv", "curves.csv"):
        path = tmp_path / "project" / "runs" / "quickstart" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((EXPORTED / name).read_bytes())
    (tmp_path / "project" / "runs" / "unreported").mkdir()
    return tmp_path / "project" / "runs"


def test_a_name_is_found_in_the_runs_folder(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study("quickstart", runs=runs)
    assert (study.name, len(study.runs), len(study.used)) == ("quickstart", 9, 9)
    assert study.source == str(runs / "quickstart" / "runs.csv")
    notebooks = runs.parent / "analysis" / "notebooks"
    notebooks.mkdir(parents=True)
    monkeypatch.chdir(notebooks)  # where Jupyter runs the notebook
    assert load_study("quickstart").source == study.source
    monkeypatch.chdir("/")
    monkeypatch.setenv("STUDY_RUNS", str(runs))
    assert load_study("quickstart").source == study.source


def test_a_folder_a_file_and_a_study_file_lead_to_the_same(runs: Path, tmp_path: Path) -> None:
    spec = tmp_path / "mine.yaml"
    spec.write_text("# which\nstudy: 'quickstart'  # as here\ngrid: {}\n")
    folder = runs / "quickstart"
    for where in (folder, str(folder), folder / "runs.csv", spec):
        study = load_study(where, runs=runs)
        assert study.source == str(folder / "runs.csv")
        assert study.curves is not None and set(study.curves["arm"]) == set(study.runs["arm"])


def test_curves_of_an_export_are_its_metrics(tmp_path: Path) -> None:
    """Of a step that was repeated after a restart the last value counts."""
    (tmp_path / "runs.csv").write_text(
        "point_id,arm,train_flops,val_loss\nb,dense,1e12,2.5\na,dense,1e11,3.5\n"
    )
    (tmp_path / "metrics.csv").write_text(
        "point_id,metric,step,timestamp_ms,value\n"
        "a,train_loss,10,1,4.5\na,grad_norm,10,1,7\na,train_flops,10,1,1e10\n"
        "b,train_loss,10,1,4.25\nb,train_loss,10,2,4.125\nb,val_loss,20,3,2.5\n"
        "gone,train_loss,10,1,9\n"
    )
    curves = load_study(tmp_path).curves
    assert curves is not None
    assert list(curves.columns) == [
        "point_id", "arm", "step", "train_flops", "train_loss", "val_loss",
    ]  # fmt: skip
    assert curves.fillna(0).to_numpy().tolist() == [
        ["a", "dense", 10, 1e10, 4.5, 0],
        ["b", "dense", 10, 0, 4.125, 0],
        ["b", "dense", 20, 0, 0, 2.5],
    ]
    (tmp_path / "metrics.csv").write_text("point_id,metric,step\na,train_loss,10\n")
    with pytest.raises(StudyError, match=r"metrics\.csv: no column 'value'"):
        _ = load_study(tmp_path).curves


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("quikstart", ["no study 'quikstart' (nearest: 'quickstart') in {runs}", "or name the"]),
        ("unreported", ["no study 'unreported'", "it has quickstart"]),
        ("{runs}/quickstrat", ["/quickstrat: no such file or folder; give the name of a study"]),
        ("{runs}/unreported", ["/unreported: it holds no runs.csv"]),
        ("absent.yaml", ["absent.yaml: cannot be read as a study file"]),
        ("sqlite:///{runs}/mlflow.db", ["mlflow.db: no such file"]),
    ],
)
def test_a_mistake_is_one_line(where: str, words: list[str], runs: Path) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(where.replace("{runs}", str(runs)), runs=runs)
    message = str(caught.value)
    assert "\n" not in message
    for part in words:
        assert part.replace("{runs}", str(runs)) in message
    assert not (runs / "mlflow.db").exists()


def test_where_there_is_no_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="none has a folder `runs`"):
        load_study("quickstart")
    (tmp_path / "none.yaml").write_text("grid: {}\n")
    with pytest.raises(StudyError, match="no line `study: NAME`"):
        load_study("none.yaml")
    with pytest.raises(StudyError, match="is no ledger; leave the second name out"):
        load_study("quickstart", "quickstart")
