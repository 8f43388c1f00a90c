"""A longer run that continues from a shorter one's checkpoint has the bits of one from scratch."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.small_runs import assert_same_state, pico, rows_of
from workloads.config.fingerprint import fingerprint, identity, trajectory
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.errors import InputError
from workloads.run_dir.paths import checkpoint_file
from workloads.run_dir.result import Result
from workloads.training.trainer import CHECKPOINT_FOLDER, train

pytestmark = pytest.mark.usefixtures("on_cpu")
CONSTANT = {"schedule": "constant", "warmup_steps": 3}
WSD = {"schedule": "wsd", "warmup_steps": 3}


def run_of(steps: int, optimizer: dict[str, Any], **changes: Any) -> RunConfig:
    return pico(budget={"steps": steps}, optimizer=optimizer, **changes)


def continued(
    config: RunConfig, dataset: TokenDataset, run_dir: Path, donor: Path, step: int
) -> Result:
    """Train with the donor's checkpoint of `step` put in place."""
    folder = run_dir / CHECKPOINT_FOLDER
    folder.mkdir(parents=True)
    shutil.copy(checkpoint_file(donor / CHECKPOINT_FOLDER, step), folder)
    return train(config, dataset, run_dir)


@pytest.mark.parametrize(
    ("short", "long", "step"),
    [
        (run_of(12, CONSTANT), run_of(20, CONSTANT), 12),
        # Checkpoints at 4, 8, ..., 20 and, at the start of the decay, 16, which stays.
        (run_of(20, WSD, runtime={"checkpoint_interval": 2}), run_of(30, WSD), 16),
        (run_of(12, CONSTANT), run_of(20, WSD), 12),
    ],
    ids=["constant", "wsd", "wsd after constant"],
)
def test_a_continued_run_has_the_bits_of_one_from_scratch(
    short: RunConfig, long: RunConfig, step: int, stdlib: TokenDataset, tmp_path: Path
) -> None:
    train(short, stdlib, tmp_path / "short")
    scratch = train(long, stdlib, tmp_path / "scratch")
    result = continued(long, stdlib, tmp_path / "continued", tmp_path / "short", step)
    assert (result.val_loss, result.resumed_step) == (scratch.val_loss, step)
    assert_same_state(tmp_path / "continued", tmp_path / "scratch")
    new = [row for row in rows_of(tmp_path / "scratch") if row["step"] > step]
    assert rows_of(tmp_path / "continued") == new


@pytest.mark.parametrize(
    "long",
    [
        run_of(30, WSD, learning_rate=0.01),
        run_of(30, WSD, seed=1),
        run_of(18, WSD),  # it decays before step 16
        run_of(30, {}),
    ],
    ids=["another rate", "another seed", "an earlier decay", "cosine"],
)
def test_the_checkpoint_of_another_trajectory_is_refused(
    long: RunConfig, stdlib: TokenDataset, tmp_path: Path
) -> None:
    train(run_of(20, WSD), stdlib, tmp_path / "short")
    with pytest.raises(InputError, match="belongs to run"):
        continued(long, stdlib, tmp_path / "long", tmp_path / "short", 16)


def test_a_checkpoint_of_the_decay_is_refused(stdlib: TokenDataset, tmp_path: Path) -> None:
    train(run_of(20, WSD), stdlib, tmp_path / "short")
    with pytest.raises(InputError, match="belongs to run"):
        continued(run_of(30, WSD), stdlib, tmp_path / "long", tmp_path / "short", 20)


def test_the_trajectory_is_all_of_a_run_but_its_length() -> None:
    def hashed(config: RunConfig) -> str:
        return fingerprint(trajectory(identity(config, "abc")))

    same = [run_of(10, CONSTANT), run_of(20, WSD), run_of(30, WSD | {"decay_fraction": 0.5})]
    others = [run_of(20, WSD | {"warmup_steps": 4}), run_of(20, WSD, seed=1), run_of(20, {})]
    assert len({hashed(config) for config in same}) == 1
    assert len({hashed(config) for config in [*same, *others]}) == 4


def test_only_an_unguided_run_has_a_stable_phase() -> None:
    assert run_of(20, WSD).stable_steps == 16
    assert run_of(20, CONSTANT).stable_steps == 20
    assert run_of(20, {}).stable_steps == 0
    assert run_of(20, WSD, guide={"ratio": 0.5}).stable_steps == 0


def test_a_warmup_longer_than_the_stable_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup_steps 17 is more than the first 16 of 20 steps"):
        run_of(20, WSD | {"warmup_steps": 17})
