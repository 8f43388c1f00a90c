"""The model of a run's directory, as its newest checkpoint has it."""

from __future__ import annotations

from pathlib import Path

from workloads.config.growth import plan_of
from workloads.config.phases import Phase, phase_at
from workloads.errors import InputError
from workloads.interop.model_file import load_model
from workloads.nn.growth.random import Masks
from workloads.nn.outline import filled, outline
from workloads.nn.self_guided import set_guides
from workloads.nn.transformer import Transformer
from workloads.run_dir.configuration import read_config
from workloads.run_dir.paths import CHECKPOINT_FOLDER, OWNER_FILE, checkpoint_file, saved_steps
from workloads.training import checkpoint


def load_any_model(source: Path) -> Transformer:
    """Return the model of a run's directory, of its newest checkpoint, or of a model file.

    Raises InputError where the path is none of them.
    """
    if source.is_dir():
        return load_run_model(source)
    run_dir = source.parent.parent
    if source.parent.name != CHECKPOINT_FOLDER or not (run_dir / OWNER_FILE).is_file():
        return load_model(source)
    if source != (newest := checkpoint_file(source.parent, saved_steps(source.parent)[0])):
        raise InputError(f"{source}: is not the newest checkpoint of its run; give {newest}")
    return load_run_model(run_dir)


def load_run_model(run_dir: Path) -> Transformer:
    """Return the model of the newest sound checkpoint of a run, on the CPU in fp32.

    A model that is guided then has its guides, with their weight at that step. Raises InputError
    where the directory holds no checkpoint or no configuration, or new parameters still fade in.
    """
    config = read_config(run_dir)
    owner = (run_dir / OWNER_FILE).read_text(encoding="utf-8")
    saved = checkpoint.newest(run_dir / CHECKPOINT_FOLDER, owner)
    if saved is None:
        raise InputError(f"{run_dir}: holds no sound checkpoint; train the run again")
    step = saved.progress.step
    phase = phase_at(config.phases, step)
    _require_faded_in(run_dir, phase, step)
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in saved.tensors.items()
        if name.startswith("model.")
    }
    guided = phase.model.guide is not None
    model = filled(outline(phase.model, guided, norm_biases=False), weights, {})
    set_guides(model, step, config)
    return model


def _require_faded_in(run_dir: Path, phase: Phase, step: int) -> None:
    """Raise InputError where parameters that a growth has drawn are still masked."""
    if phase.model.growth is None:
        return
    plan = plan_of(phase.model.growth)
    if plan.options.operator != "random":
        return
    masks = Masks(plan)
    masks.set(step - phase.start)
    if not all(bool((mask == 1).all()) for mask in masks.buffers()):
        raise InputError(
            f"{run_dir}: parameters that its growth has drawn still fade in after step {step}, so "
            "no plain model computes what this one does; train the run to its end"
        )
