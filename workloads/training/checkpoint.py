"""Checkpoints: one safetensors file for each saved step, with model, optimizer and progress.

A checkpoint is written under a temporary name, flushed to disk and moved into place; a digest of
its contents is checked when it is read. The newest two are kept, so that a damaged one costs an
interval, not the run. Random draws are not saved: each is a function of the run's seed and the
step. Tensors are stored whole, so that another number of workers, or workers that shard the model
otherwise, can go on with them.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from kernels.files import sync_folder
from workloads.errors import InputError
from workloads.optim.update import updated
from workloads.run_dir.paths import checkpoint_file, saved_steps

KEPT = 2
# Whole CPU tensors: weights as `model.NAME`, the optimizer's state as `optimizer.NAME.KEY`.
Tensors = dict[str, Tensor]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """The place where a run stands: optimizer steps done, seconds that its training loop has spent,
    and the highest training loss since the last recorded row, in nats per token.

    Of a run that a clock ends also the seconds of its budget that are spent, and the share of the
    budget at which the last step was taken.
    """

    step: int = 0
    train_seconds: float = 0.0
    train_loss_max: float = -math.inf
    spent_seconds: float = 0.0
    share: float = 0.0


@dataclass(frozen=True)
class Stable:
    """The first `steps` of a run, which all runs of the same trajectory have in common whatever
    their length (`config.fingerprint.trajectory`). A checkpoint of one serves the others."""

    trajectory: str
    steps: int


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was found sound, in memory."""

    path: Path
    progress: Progress
    tensors: Tensors

    @torch.no_grad()
    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put the weights and the optimizer's state in place.

        Raises RuntimeError when the model has not exactly the parameters that were saved.
        """
        named = dict(model.named_parameters())
        saved = {name for name in self.tensors if name.startswith("model.")}
        if wrong := saved ^ {f"model.{name}" for name in named}:
            raise RuntimeError(f"{self.path} does not fit the model: {sorted(wrong)}")
        for name, parameter in named.items():
            saved_weight, master = self.tensors[f"model.{name}"], updated(parameter)
            for weight in {parameter, master}:
                weight.copy_(placed(saved_weight, weight))
            prefix = f"optimizer.{name}."
            optimizer.state[master] = {
                key.removeprefix(prefix): _state_like(value, master)
                for key, value in self.tensors.items()
                if key.startswith(prefix)
            }


def collect(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Return weights and optimizer state as one flat mapping of whole, contiguous CPU tensors.

    Under sharding every worker must call it, because the shards are gathered.
    """
    named: Tensors = {}
    for name, parameter in model.named_parameters():
        master = updated(parameter)
        named[f"model.{name}"] = _whole(master)
        for key, value in optimizer.state[master].items():
            named[f"optimizer.{name}.{key}"] = _whole(value)
    return named


def save(
    directory: Path,
    tensors: Tensors,
    progress: Progress,
    fingerprint: str,
    stable: Stable | None = None,
) -> Path:
    """Write the checkpoint of `progress.step` and drop older ones.

    The newest `KEPT` stay, and the one at the end of the stable steps. Raises OSError when the
    checkpoint cannot be written; the others stay then.
    """
    metadata = {
        "step": str(progress.step),
        "train_seconds": repr(progress.train_seconds),
        "train_loss_max": repr(progress.train_loss_max),
        "fingerprint": fingerprint,
    }
    if progress.spent_seconds:
        metadata["spent_seconds"] = repr(progress.spent_seconds)
        metadata["share"] = repr(progress.share)
    if stable and progress.step <= stable.steps:
        metadata["trajectory"] = stable.trajectory
    metadata["sha256"] = _digest(tensors, metadata)
    directory.mkdir(parents=True, exist_ok=True)
    path = checkpoint_file(directory, progress.step)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written: {error}") from error
    sync_folder(directory)
    for old in [*_newest_first(directory)[KEPT:], *directory.glob("*.tmp")]:
        if not stable or old != checkpoint_file(directory, stable.steps):
            old.unlink(missing_ok=True)
    return path


def newest(directory: Path, fingerprint: str, stable: Stable | None = None) -> Saved | None:
    """Return the newest sound checkpoint of this run, or of one with the same stable steps, if any.

    A damaged file is named in a warning and passed over. Raises InputError when the directory
    holds checkpoints of another run.
    """
    for path in _newest_first(directory):
        try:
            tensors, metadata = _read(path)
        except (SafetensorError, OSError, ValueError) as error:
            logger.warning("%s is damaged (%s); trying the one before it", path, error)
            continue
        if metadata["fingerprint"] != fingerprint and not _shared(metadata, stable):
            raise InputError(
                f"{path} belongs to run {metadata['fingerprint']}, not {fingerprint}; "
                "choose another directory or delete this one"
            )
        progress = Progress(
            int(metadata["step"]),
            float(metadata["train_seconds"]),
            float(metadata["train_loss_max"]),
            float(metadata.get("spent_seconds", 0.0)),
            float(metadata.get("share", 0.0)),
        )
        return Saved(path, progress, tensors)
    return None


def _shared(metadata: dict[str, str], stable: Stable | None) -> bool:
    """Return whether another run's checkpoint is also one of this run."""
    if stable is None or int(metadata["step"]) > stable.steps:
        return False
    return metadata.get("trajectory") == stable.trajectory


def _newest_first(directory: Path) -> list[Path]:
    return [checkpoint_file(directory, step) for step in saved_steps(directory)]


def _whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.cpu().contiguous()


def placed(whole: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor on the parameter's device, sharded as the parameter is."""
    if isinstance(parameter, DTensor):
        mesh = parameter.device_mesh
        return distribute_tensor(whole.to(mesh.device_type), mesh, parameter.placements)
    return whole.to(parameter.device)


def _state_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return optimizer state as the optimizer made it.

    A count of steps is a scalar, every other state is laid out and sharded like the parameter.
    """
    if value.ndim == 0 and parameter.ndim > 0:
        return value.to(parameter.device)
    # In the parameter's own memory layout: the fused optimizer walks them side by side.
    return torch.empty_like(parameter).copy_(placed(value, parameter))


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
