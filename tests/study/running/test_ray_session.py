"""What fits on a cluster, counted without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.running.ray_session import connected, places, trial_resources
from study.spec.study_file import Resources
from workloads.errors import InputError

A100_NODE = {"CPU": 64.0, "GPU": 8.0, "accelerator_type:A100": 1.0}
H100_NODE = {"CPU": 16.0, "GPU": 4.0, "accelerator_type:H100": 1.0}


def workers(count: int, **changes: str | int) -> Resources:
    settings = {"num_workers": count, "cpus_per_worker": 4, "gpus_per_worker": 1}
    return Resources.model_validate(settings | changes)


def test_points_are_placed_on_the_gpus_they_name() -> None:
    nodes = [A100_NODE, H100_NODE, {"CPU": 128.0}]
    assert places(workers(4), nodes) == 3
    assert places(workers(4, accelerator_type="A100"), nodes) == 2
    assert places(workers(4, accelerator_type="H100"), nodes) == 1


def test_what_no_node_has_is_said() -> None:
    with pytest.raises(InputError, match=r"8 x \(4 CPU, 1 GPU of type H200\) .* hold 0 of them"):
        places(workers(8, accelerator_type="H200"), [A100_NODE, H100_NODE])


def test_a_trial_that_trains_itself_reserves_the_gpu_it_names() -> None:
    assert trial_resources(workers(0, accelerator_type="A100")) == {
        "CPU": 4,
        "GPU": 1,
        "accelerator_type:A100": 0.001,
    }
    assert "GPU" not in trial_resources(workers(1, accelerator_type="A100"))


def test_a_folder_too_long_for_sockets_is_refused_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    folder = tmp_path / ("long" * 25)
    monkeypatch.setenv("TMPDIR", str(folder))
    with (
        pytest.raises(InputError, match=r"^TMPDIR=.* set RAY_TMPDIR to a shorter"),
        connected(workers(1)),
    ):
        pass
    assert not folder.exists()
