"""The crossovers of pre-merged FFNs: up to how many tokens the dense weight is faster.

A dense weight takes more arithmetic than its structured factors, but in fewer and larger products,
so it is faster for few tokens (arXiv 2406.16450, section 3). Where the two cross depends on the
device and the layer; `python -m workloads bench decode` measures it and stores it in the user's
cache folder.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Self

import torch
from pydantic import NonNegativeInt, TypeAdapter

from kernels.files import read_bytes, write_atomically
from kernels.machine import cpu_name
from workloads.config.ffn_kinds import SizedFFN
from workloads.config.model import ModelConfig
from workloads.errors import InputError
from workloads.files import exclusive, measured_here
from workloads.nn.projections.base import Projection
from workloads.nn.transformer import Transformer
from workloads.schema.base import Config

# Where nothing was measured: the paper found the dense layer faster below a few hundred tokens
# on an A100 (arXiv 2406.16450).
DEFAULT_CROSSOVER_TOKENS = 256
MEASURE_COMMAND = "python -m workloads bench decode CONFIG.yaml"
FILE = "crossovers.json"
# How long to wait for another process that stores a crossover.
PATIENCE_SECONDS = 10.0
logger = logging.getLogger(__name__)


class Setting(SizedFFN):
    """What a crossover depends on: the device, the type of the products, the FFN's shape."""

    device: str
    dtype: str
    hidden_dim: int
    ffn_dim: int
    activation: str

    @classmethod
    def of(cls, model: ModelConfig, device: torch.device, dtype: torch.dtype) -> Self:
        """Return the setting of the model's structured FFNs."""
        return cls.model_validate(
            {
                "device": _device_name(device),
                "dtype": str(dtype).removeprefix("torch."),
                "kind": model.ffn.kind,
                **model.ffn.sizes,
                "hidden_dim": model.hidden_dim,
                "ffn_dim": model.ffn_dim,
                "activation": model.activation,
            }
        )


class Crossover(Config):
    """One measurement: up to `tokens` tokens at once the merged weight is faster; 0: never."""

    setting: Setting
    tokens: NonNegativeInt


TABLE: TypeAdapter[list[Crossover]] = TypeAdapter(list[Crossover])


def premerge(model: Transformer, crossover_tokens: int | None = None) -> None:
    """Keep merged dense FFN weights beside the structured ones, for inference.

    An FFN uses the merged weights for up to `crossover_tokens` tokens at once; left out, that is
    what `python -m workloads bench decode` has measured. Outputs stay equal to rounding. The merged
    weights last until a pass in training mode or with gradients, or until weights are loaded or
    moved.
    """
    projections = [module for module in model.modules() if isinstance(module, Projection)]
    if not any(projection.mergeable for projection in projections):
        return
    if crossover_tokens is None:
        crossover_tokens = crossover_tokens_for(model.config, model.device, model.compute_dtype)
    for projection in projections:
        projection.premerge(crossover_tokens)


def crossover_tokens_for(model: ModelConfig, device: torch.device, dtype: torch.dtype) -> int:
    """Return the stored crossover of the model's FFNs, or warn and return the default."""
    setting = Setting.of(model, device, dtype)
    for crossover in _load():
        if crossover.setting == setting:
            return crossover.tokens
    logger.warning(
        "no crossover was measured for %s FFNs of this shape, %s, on %s; pre-merging up to %d "
        "tokens, a default. Measure it once: %s",
        setting.kind,
        setting.dtype,
        setting.device,
        DEFAULT_CROSSOVER_TOKENS,
        MEASURE_COMMAND,
    )
    return DEFAULT_CROSSOVER_TOKENS


def store(crossover: Crossover) -> Path:
    """Put a measurement in the table, in place of an earlier one, and return the table's file.

    Raises InputError where it cannot be written.
    """
    path = measured_here(FILE)
    try:
        with exclusive(path.parent, PATIENCE_SECONDS):
            others = [row for row in _load() if row.setting != crossover.setting]
            write_atomically(path, TABLE.dump_json([*others, crossover], indent=1))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error}; set XDG_CACHE_HOME to a folder that can"
        ) from error
    return path


def _load() -> list[Crossover]:
    """Read the table; warn of a file that cannot be read, and take it as empty."""
    path = measured_here(FILE)
    try:
        return TABLE.validate_json(read_bytes(path))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        logger.warning(
            "%s is damaged (%s); going on without it. Delete it, or measure again: %s",
            path,
            first,
            MEASURE_COMMAND,
        )
        return []


def _device_name(device: torch.device) -> str:
    """Return a CUDA device's name, or the CPU's with the number of threads at work on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {torch.get_num_threads()} threads"
