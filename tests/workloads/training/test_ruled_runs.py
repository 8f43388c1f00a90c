"""Runs under a transfer rule: they train with its rates, and resume to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workloads.small_runs import assert_same_run, pico
from workloads.data.dataset import TokenDataset
from workloads.errors import Preempted
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.mark.parametrize("guided", [False, True], ids=["alone", "guided"])
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(
    guided: bool, stdlib: TokenDataset, tmp_path: Path
) -> None:
    guide = {"guide": {"ratio": 0.5, "mode": "fixed_steps"}} if guided else {}
    changes = {"model": {"num_layers": 4}, "width": 2, "budget": {"steps": 12}} | guide
    config = pico(recipe="completep", **changes)
    assert config.model.multipliers.residual == 0.5 and config.optimizer.roles
    whole = train(config, stdlib, tmp_path / "whole")
    asked = iter([*[False] * 3, True])
    with pytest.raises(Preempted):
        train(config, stdlib, tmp_path / "stopped", should_stop=lambda: next(asked))
    ended = train(config, stdlib, tmp_path / "stopped")
    assert ended.val_loss == whole.val_loss and ended.resumed_step == 4
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
