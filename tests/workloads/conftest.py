"""Fixtures of the workloads tests: the bundled text, prepared once, and the devices there are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from workloads.config import DataConfig
from workloads.data import shards
from workloads.data.shards import TokenDataset


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
