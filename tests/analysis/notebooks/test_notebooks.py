"""The notebooks run from top to bottom, and are kept without outputs."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.ipynb"))
EXPORTED = Path(__file__).parents[1] / "exported"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_on_a_recorded_study(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDY_RUNS", raising=False)
    shutil.copytree(EXPORTED, tmp_path / "runs" / "quickstart")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [one for one in outputs if one.get("name") == "stderr"]
    shown = [output.get("data", {}) for output in outputs]
    assert "image/png" in shown[-1]
    assert "Study quickstart" in shown[0]["text/html"] or "plot.scaling()" in shown[0]["text/html"]
    assert len(shown) == len([c for c in notebook.cells if c.cell_type == "code"])


def test_from_a_study_to_its_scaling_figure_in_ten_lines() -> None:
    cells = nbformat.read(NOTEBOOKS[0], as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert len(code.splitlines()) <= 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_both_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["fit_and_compare", "paper_figures"]
