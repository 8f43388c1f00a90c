"""The files of a Hugging Face folder: config.json, and the tensors of its safetensors files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kernels.files import read_bytes
from workloads.errors import InputError
from workloads.interop.huggingface.architecture import Architecture
from workloads.interop.huggingface.table import ARCHITECTURES

CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
T = TypeVar("T")


def read_architecture(folder: Path) -> Architecture:
    """Return the config.json of a folder. Raises InputError where it is of no architecture of the
    table, or says too little."""
    path = folder / CONFIG
    tree = _json(path)
    named = tree.get("architectures") or [
        name for name, each in ARCHITECTURES.items() if each.known_as == tree.get("model_type")
    ]
    name = named[0] if isinstance(named, list) and named else "none"
    if name not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        raise InputError(f"{path}: architectures: {name} is not known here; {known} are")
    try:
        return ARCHITECTURES[name].model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {key}: {first['msg']}; get the file anew") from None


class Weights:
    """The tensors of a folder's safetensors files, each read when it is asked for.

    Raises InputError where a file is missing or damaged, or weights are pickled.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}
        for path in _weight_files(folder):
            self._files |= dict.fromkeys(_opened(path, lambda file: list(file.keys())), path)

    def names(self) -> list[str]:
        return list(self._files)

    def file(self, name: str) -> Path:
        """Return the file that holds a tensor."""
        return self._files[name]

    def header(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return a tensor's shape, and its type of numbers as safetensors names it."""

        def of_slice(file: Any) -> tuple[tuple[int, ...], str]:
            part = file.get_slice(name)
            return tuple(part.get_shape()), part.get_dtype()

        return _opened(self._files[name], of_slice)

    def tensor(self, name: str) -> Tensor:
        return _opened(self._files[name], lambda file: file.get_tensor(name))


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.exists():
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise InputError(f"{index}: weight_map is missing or empty; get the file anew")
        for name, shard in places.items():
            if not (folder / str(shard)).is_file():
                raise InputError(
                    f"{folder / str(shard)}: missing, and {name} is in it; get it, too"
                )
        return sorted({folder / str(shard) for shard in places.values()})
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if shards := sorted(folder.glob("*.safetensors")):
        raise InputError(f"{index}: missing, and {shards[0].name} is a shard; get it, too")
    if pickled := sorted([*folder.glob("*.bin"), *folder.glob("*.pt*")]):
        raise InputError(
            f"{pickled[0]}: holds pickled weights, and loading them could run any code; where you "
            "trust the file, load the model in transformers and save_pretrained it: that writes "
            "safetensors"
        )
    raise InputError(f"{folder / WEIGHTS}: missing; name a folder that holds a model's weights")


def _opened(path: Path, of: Callable[[Any], T]) -> T:
    try:
        with safe_open(path, framework="pt") as file:
            return of(file)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: is damaged or no safetensors file: {error}; get it anew"
        ) from None


def _json(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds."""
    try:
        tree = json.loads(read_bytes(path))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; name the folder of a model of transformers") from None
    except ValueError as error:
        raise InputError(f"{path}: is no JSON: {error}; get the file anew") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: holds no mapping; get the file anew")
    return tree
