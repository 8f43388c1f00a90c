"""Checkpoints: one safetensors file a step with model, optimizer, RNG and progress.

Written under a temporary name, flushed to disk and moved into place; a digest of the contents is
checked when read. The newest two are kept, so that a damaged one costs an interval, not the run.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from workloads.errors import InputError

KEPT = 2
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a run stands: optimizer steps done, and seconds its training loop has spent."""

    step: int = 0
    train_seconds: float = 0.0


def save(
    directory: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    fingerprint: str,
) -> Path:
    """Write the checkpoint of `progress.step` and drop all but the newest `KEPT`."""
    tensors = _tensors(model, optimizer)
    metadata = {
        "step": str(progress.step),
        "train_seconds": repr(progress.train_seconds),
        "fingerprint": fingerprint,
    }
    metadata["sha256"] = _digest(tensors, metadata)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"step-{progress.step:08d}.safetensors"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(tensors, temporary, metadata)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    for old in [*_newest_first(directory)[KEPT:], *directory.glob("*.tmp")]:
        old.unlink(missing_ok=True)
    return path


def restore(
    directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str
) -> Progress:
    """Load the newest sound checkpoint into model, optimizer and RNG; step 0 if there is none.

    A damaged file is named in a warning and passed over. Raises InputError when the directory
    holds checkpoints of another run.
    """
    for path in _newest_first(directory):
        try:
            tensors, metadata = _read(path)
        except (SafetensorError, OSError, ValueError) as error:
            logger.warning("%s is damaged (%s); trying the one before it", path, error)
            continue
        if metadata["fingerprint"] != fingerprint:
            raise InputError(
                f"{path} belongs to run {metadata['fingerprint']}, not {fingerprint}; "
                "choose another directory or delete this one"
            )
        _load(tensors, model, optimizer)
        return Progress(int(metadata["step"]), float(metadata["train_seconds"]))
    return Progress()


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*.safetensors"), reverse=True)


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything as one flat mapping of contiguous CPU tensors."""
    named = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            named[f"optimizer.{name}.{key}"] = value
    named["rng.cpu"] = torch.get_rng_state()
    return {name: value.detach().cpu().contiguous() for name, value in named.items()}


@torch.no_grad()
def _load(tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    model.load_state_dict(
        {name: tensors[f"model.{name}"] for name in model.state_dict()}, strict=True
    )
    state = {
        index: {
            "step": tensors[f"optimizer.{name}.step"],
            # In the parameter's own memory layout: the fused optimizer walks them side by side.
            "exp_avg": torch.empty_like(parameter).copy_(tensors[f"optimizer.{name}.exp_avg"]),
            "exp_avg_sq": torch.empty_like(parameter).copy_(
                tensors[f"optimizer.{name}.exp_avg_sq"]
            ),
        }
        for index, (name, parameter) in enumerate(model.named_parameters())
    }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    if metadata.pop("sha256", None) != _digest(tensors, metadata):
        raise ValueError("its contents do not match its SHA-256")
    return tensors, metadata


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
