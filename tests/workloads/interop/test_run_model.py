"""The model of a run's directory: after its end, while it is guided, and after it has grown."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.workloads.small_runs import Whole, newest_checkpoint, pico
from workloads.config.growth_options import GrowthOptions
from workloads.data.dataset import TokenDataset
from workloads.errors import InputError, Preempted
from workloads.interop.growth import grow_file
from workloads.interop.huggingface.exporting import export_folder
from workloads.interop.model_file import load_model
from workloads.interop.run_model import load_run_model
from workloads.run_dir.configuration import record_config
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


def trained(dataset: TokenDataset, run_dir: Path, stop_after: int = 0, **changes: Any) -> Path:
    """A run of ten steps, of which only the first are taken where it is stopped after them."""
    calls: list[int] = []

    def should_stop() -> bool:
        calls.append(1)
        return len(calls) == stop_after

    config = pico(budget={"steps": 10}, **changes)
    if stop_after:
        with pytest.raises(Preempted):
            train(config, dataset, run_dir, should_stop=should_stop)
    else:
        train(config, dataset, run_dir)
    return run_dir


def test_an_ended_run(whole: Whole) -> None:
    config, run_dir, _, _ = whole
    model = load_run_model(run_dir)
    assert model.config == config.model
    saved = load_file(newest_checkpoint(run_dir))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, saved[f"model.{name}"]), name


def test_a_run_and_its_newest_checkpoint_are_grown_as_they_are(
    whole: Whole, tmp_path: Path
) -> None:
    run_dir = whole[1]
    options = GrowthOptions(operator="stack", layers=2 * whole[0].model.num_layers)
    grown = []
    for source in (run_dir, newest_checkpoint(run_dir)):
        out = tmp_path / f"{source.name}.out"
        grow_file(source, out, options)
        grown.append(load_model(out).state_dict())
    base = load_run_model(run_dir).state_dict()
    assert torch.equal(grown[0]["wte.weight"], base["wte.weight"])
    assert all(torch.equal(grown[0][name], grown[1][name]) for name in grown[0])
    with pytest.raises(InputError, match="absent: is not a model of this platform"):
        grow_file(tmp_path / "absent", tmp_path / "out", options)


def test_a_guided_run_has_its_guides_with_their_weight_then(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    guide = {"ratio": 0.5, "mode": "fixed_steps"}
    run_dir = trained(stdlib, tmp_path / "run", stop_after=3, guide=guide)
    saved = load_file(newest_checkpoint(run_dir))
    export_folder(run_dir, tmp_path / "hf")
    found = load_file(tmp_path / "hf" / "model.safetensors")
    share = (1 + math.cos(math.pi * 3 / 5)) / 2
    for ours, theirs in (("fc1", "dense_h_to_4h"), ("fc2", "dense_4h_to_h")):
        v, u, w = (saved[f"model.layers.1.mlp.{ours}.{leaf}"] for leaf in ("v", "u", "guide"))
        assert (w - u @ v).abs().max() > 1e-4
        expected = share * w + (1 - share) * (u @ v)
        torch.testing.assert_close(found[f"gpt_neox.layers.1.mlp.{theirs}.weight"], expected)


def test_a_guided_run_has_none_after_its_guidance(stdlib: TokenDataset, tmp_path: Path) -> None:
    model = load_run_model(trained(stdlib, tmp_path, guide={"ratio": 0.5, "mode": "fixed_steps"}))
    assert not [name for name, _ in model.named_parameters() if "guide" in name]


@pytest.mark.parametrize(
    ("growth", "layers"),
    [
        ({"operator": "stack", "factor": 2}, 4),
        ({"operator": "random", "layers": 3, "mask_steps": 4}, 3),
    ],
)
def test_a_run_that_has_grown(
    growth: dict[str, Any], layers: int, stdlib: TokenDataset, tmp_path: Path
) -> None:
    grow = growth | {"at": {"fraction": 0.5}}
    model = load_run_model(trained(stdlib, tmp_path, grow=[grow]))
    assert model.config.num_layers == len(model.layers) == layers


def test_one_that_still_fades_in_is_refused(stdlib: TokenDataset, tmp_path: Path) -> None:
    grow = {"operator": "random", "layers": 3, "mask_steps": 9, "at": {"fraction": 0.5}}
    trained(stdlib, tmp_path, grow=[grow])
    with pytest.raises(InputError, match=rf"^{tmp_path}: parameters .* fade in after step 10, so"):
        load_run_model(tmp_path)


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    record_config(tmp_path, pico())
    (tmp_path / "fingerprint").write_text("0123")
    with pytest.raises(InputError, match=f"^{tmp_path}: holds no sound checkpoint"):
        load_run_model(tmp_path)
