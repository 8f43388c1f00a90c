"""A run or a model file as a Hugging Face folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from workloads.errors import InputError
from workloads.files import appearing_whole
from workloads.interop.huggingface.architecture import Architecture
from workloads.interop.huggingface.folder import CONFIG, WEIGHTS
from workloads.interop.huggingface.table import architecture_of
from workloads.interop.huggingface.tensors import dense_shape, outgoing
from workloads.interop.huggingface.tokenizer import (
    read_tokenizer,
    tokenizer_of_run,
    write_tokenizer,
)
from workloads.interop.model_file import tokenizer_beside
from workloads.interop.run_model import load_any_model
from workloads.nn.projections.base import INIT_STD
from workloads.nn.transformer import Transformer

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Exported:
    """What a folder holds: an architecture, its parameters, and the fields of the model that have
    no place there and change nothing of what it computes. `no_tokenizer` is why there is none."""

    architecture: str
    parameters: int
    left_out: dict[str, object]
    no_tokenizer: str | None


def export_folder(source: Path, out: Path, dtype: Dtype = "float32") -> Exported:
    """Write the model of a run's directory, or of a model file, as the folder `out`.

    Structured FFNs become dense ones, guides merged as they stand. The tokenizer is that of the
    run's text, or the file beside the model's. Raises InputError where the model has an option that
    no architecture has, or `out` exists.
    """
    if out.exists():
        raise InputError(f"{out}: exists; choose another name, or remove it")
    model = load_any_model(source)
    try:
        architecture = architecture_of(model.config).of(dense_shape(model.config))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    tokenizer, no_tokenizer = _tokenizer(source, model)
    tensors = outgoing(architecture, model, getattr(torch, dtype))
    with appearing_whole(out) as folder:
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        end = None
        if tokenizer is not None:
            end = write_tokenizer(folder, tokenizer, model.config.block_size)
        _write_config(folder, architecture, dtype, end)
        # safetensors makes a file that its owner alone can read.
        (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    return Exported(architecture.name, parameters, _left_out(architecture, model), no_tokenizer)


def _tokenizer(source: Path, model: Transformer) -> tuple[str | None, str | None]:
    """Return the content of the tokenizer's file, or why there is none."""
    if not source.is_dir():
        beside = tokenizer_beside(source)
        if not beside.is_file():
            return None, f"{beside} is missing"
        return read_tokenizer(beside, model.config.vocab_size), None
    try:
        return tokenizer_of_run(source).as_json(), None
    except InputError as error:
        return None, str(error)


def _write_config(folder: Path, architecture: Architecture, dtype: Dtype, end: int | None) -> None:
    config = {
        "architectures": [architecture.name],
        "model_type": architecture.known_as,
        **architecture.model_dump(),
        "initializer_range": INIT_STD,
        "bos_token_id": None,  # Left out, it would be an id of another vocabulary.
        "eos_token_id": end,
        # Read by all versions; version 5 calls it `dtype`.
        "torch_dtype": dtype,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _left_out(architecture: Architecture, model: Transformer) -> dict[str, object]:
    given, read = dense_shape(model.config), architecture.model()
    fields = type(given).model_fields
    values = {name: getattr(given, name) for name in fields}
    return {name: value for name, value in values.items() if value != getattr(read, name)}
