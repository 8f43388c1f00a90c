"""A Hugging Face folder as a model file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from pydantic import ValidationError

from kernels.files import write_atomically
from workloads.config.model import ModelConfig
from workloads.errors import InputError
from workloads.interop.entries import difference
from workloads.interop.huggingface.architecture import Architecture
from workloads.interop.huggingface.folder import CONFIG, TOKENIZER, Weights, read_architecture
from workloads.interop.huggingface.tensors import full_shapes, incoming, shape_at
from workloads.interop.huggingface.tokenizer import read_tokenizer
from workloads.interop.model_file import is_model, save_model, tokenizer_beside
from workloads.nn.transformer import Transformer
from workloads.schema import strict_yaml

# Types of numbers as safetensors names them.
FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
# Tables that old files hold beside the weights: they follow from config.json.
TABLES = re.compile(r"\.(rotary_emb\.inv_freq|attention\.(bias|masked_bias))$")


@dataclass(frozen=True)
class Imported:
    """A model that was read from a folder, and where its tokenizer was put."""

    architecture: str
    model: Transformer
    tokenizer: Path | None


def import_folder(folder: Path, out: Path) -> Imported:
    """Save the model of a folder as the model file `out`, and its tokenizer beside it.

    Weights keep their type. Raises InputError where the folder holds no model that a model here
    can be, or `out` is another kind of file.
    """
    if out.exists() and not is_model(out):
        raise InputError(f"{out}: exists and is not a model file; choose another name")
    architecture = read_architecture(folder)
    config = _shape(folder, architecture)
    path, beside = folder / TOKENIZER, tokenizer_beside(out)
    tokenizer = read_tokenizer(path, config.vocab_size) if path.is_file() else None
    model = _model(architecture, config, Weights(folder))
    save_model(model, out)
    if tokenizer is None:
        beside.unlink(missing_ok=True)  # of a model that had this name before
        return Imported(architecture.name, model, None)
    write_atomically(beside, tokenizer)
    return Imported(architecture.name, model, beside)


def _shape(folder: Path, architecture: Architecture) -> ModelConfig:
    try:
        return architecture.model()
    except (ValidationError, InputError) as error:
        raise InputError(f"{folder / CONFIG}: {strict_yaml.reason(error)}") from None


def _model(architecture: Architecture, config: ModelConfig, weights: Weights) -> Transformer:
    names = _names(architecture, weights)
    shapes, dtypes = full_shapes(config), []
    for name, place in architecture.places():
        dtypes.append(_dtype(weights, names[name], shape_at(place, shapes)))
    dtype = reduce(torch.promote_types, dtypes)
    return incoming(architecture, config, lambda name: weights.tensor(names[name]), dtype)


def _names(architecture: Architecture, weights: Weights) -> dict[str, str]:
    """Return the name of each of the architecture's tensors in the files.

    Raises InputError where the files have not exactly these.
    """
    aliases = architecture.aliases
    names = {aliases.get(name, name): name for name in weights.names() if not TABLES.search(name)}
    if architecture.tie_word_embeddings:  # Some files hold the embedding once more.
        names.pop(architecture.head, None)
    expected = [name for name, _ in architecture.places()]
    missing = [name for name in expected if name not in names]
    unexpected = [name for name in names.values() if aliases.get(name, name) not in expected]
    if missing or unexpected:
        raise InputError(
            f"{weights.folder}: its weights are not those of a {architecture.name} of its "
            f"{CONFIG}: {difference(missing, unexpected)}; get both of one model"
        )
    return names


def _dtype(weights: Weights, name: str, shape: tuple[int, ...]) -> torch.dtype:
    """Return the type of a tensor. Raises InputError where it has another shape, or no floats."""
    found, kind = weights.header(name)
    if found != shape:
        raise InputError(
            f"{weights.file(name)}: {name} is {found}, and by {CONFIG} {shape}; get both of one "
            "model"
        )
    if kind not in FLOATS:
        raise InputError(
            f"{weights.file(name)}: {name} is of {kind}; save the weights as one of "
            f"{', '.join(FLOATS)}"
        )
    return FLOATS[kind]
