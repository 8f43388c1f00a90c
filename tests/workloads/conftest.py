"""Fixtures of the workloads tests: the bundled text, prepared once, and the devices there are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.workloads.small_runs import Whole, pico
from workloads.data import shards
from workloads.data.config import DataConfig
from workloads.data.dataset import TokenDataset
from workloads.run_dir.metrics_log import Row
from workloads.training.trainer import train


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def stdlib(data_root: Path) -> TokenDataset:
    return shards.prepare(DataConfig(source="python-stdlib", tokenizer="byte"), data_root)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are too small for threads, and sums depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def on_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """These are the CPU's numbers, also on a machine with a GPU."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(
            "workloads.training.trainer.training_device", lambda: torch.device("cpu")
        )
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def whole(stdlib: TokenDataset, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run that nothing disturbed: its config, directory, result and reported rows."""
    run_dir = tmp_path_factory.mktemp("whole")
    reported: list[Row] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workloads.training.trainer.training_device", lambda: torch.device("cpu"))
        result = train(pico(), stdlib, run_dir, reported.append)
    return pico(), run_dir, result, reported
