"""Fixtures of the study tests: one runs folder, and small spec files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.study.launching import SPEC


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
