"""A run's directory holds the configuration that it was trained by."""

from pathlib import Path

import pytest

from tests.workloads.small_runs import Whole
from workloads.data.dataset import TokenDataset
from workloads.errors import InputError
from workloads.run_dir.configuration import CONFIG_FILE, read_config
from workloads.training.trainer import train


def test_a_run_leaves_its_configuration(whole: Whole) -> None:
    config, run_dir, _, _ = whole
    assert read_config(run_dir) == config


def test_an_ended_run_without_one_gets_it_and_trains_nothing(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, run_dir, result, _ = whole
    for name in ("result.json", "fingerprint"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    with pytest.raises(InputError, match=rf"^{tmp_path}/run.json: missing: .*train CONFIG.yaml"):
        read_config(tmp_path)
    assert train(config, stdlib, tmp_path) == result
    assert read_config(tmp_path) == config
    assert not (tmp_path / "checkpoints").exists()


def test_a_damaged_one_is_told_with_the_field(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('{"model": {"vocab_size": "x"}}')
    with pytest.raises(InputError, match=r"run.json: model.vocab_size: Input should be a valid"):
        read_config(tmp_path)
