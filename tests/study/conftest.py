"""Fixtures of the study tests: one runs folder, small spec files, and one study that has run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import SPEC, Launched, study_cli


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One runs folder for all launches, so that the data is prepared once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., Path]:
    """Write a study of two points; keywords fill in SPEC."""

    def write(name: str, preset: str = "pico", steps: int = 20, num_workers: int = 0) -> Path:
        path = tmp_path / f"{name}.yaml"
        text = SPEC.format(name=name, preset=preset, steps=steps, num_workers=num_workers)
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def launched(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A study of two points that Ray has trained, to be read only; `finished` is a copy of it."""
    spec = tmp_path_factory.mktemp("launched") / "study.yaml"
    spec.write_text(SPEC.format(name="end-to-end", preset="pico", steps=20, num_workers=0))
    done = study_cli("run", spec, "--runs", runs_dir)
    return Launched(planner.load(spec, runs_dir), done.stdout, done.stderr)


@pytest.fixture
def finished(launched: Launched, tmp_path: Path) -> Study:
    """A copy of that study, with its ledger and its folder, that a test may change."""
    original, runs = launched.study, tmp_path / "runs-copy"
    runs.mkdir()
    shutil.copy(original.runs_dir / "mlflow.db", runs)
    (runs / "data").symlink_to(original.runs_dir / "data")
    unneeded = shutil.ignore_patterns("ray", ".lock")
    shutil.copytree(original.directory, runs / original.name, ignore=unneeded)
    spec = shutil.copy(original.spec.path, tmp_path / "study.yaml")
    return planner.load(Path(spec), runs)
