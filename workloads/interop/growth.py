"""Growth of a model file into another one."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workloads.config.growth import plan_growth
from workloads.config.growth_options import GrowthOptions
from workloads.errors import InputError
from workloads.interop.model_file import guides_of, is_model, save_model
from workloads.interop.run_model import load_any_model
from workloads.nn.growth.grow import GrowthRecord, grow
from workloads.nn.outline import filled, outline
from workloads.schema import strict_yaml


def grow_file(
    source: Path, out: Path, options: GrowthOptions, seed: int = 0, matrices: Path | None = None
) -> GrowthRecord:
    """Grow the model of a run or a model file, and save it as a model file. The grown weights are
    of the type that the file has them in; of a run, fp32. Raises InputError where the growth does
    not fit the model."""
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out}: is the base itself; choose another name for the grown model")
    if out.exists() and not is_model(out):
        raise InputError(f"{out}: exists and is not a model file; choose another name")
    if matrices and options.operator != "learn":
        raise InputError(f"matrices {matrices} are for operator learn; leave them out")
    base = load_any_model(source)
    if guided := guides_of(base):
        raise InputError(f"{source}: {next(iter(guided))} still has its guide; train it to its end")
    weights = {name: parameter.detach() for name, parameter in base.named_parameters()}
    given = _read(matrices) if matrices else None
    try:
        plan = plan_growth(base.config.model_copy(update={"guide": None}), options)
        grown, record = grow(plan, weights, seed, given)
    except ValueError as error:
        place = matrices if isinstance(error, InputError) else source
        raise InputError(f"{place}: {strict_yaml.reason(error)}") from error
    model = outline(plan.model, guided=False, norm_biases="ln_f.bias" in grown)
    save_model(filled(model, grown, {}, grown["wte.weight"].dtype), out)
    return record


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is no safetensors file: {error}; check the path") from error
