"""The table of architectures: one is a file beside this one and a row here."""

from __future__ import annotations

from typing import Any

from workloads.config.model import ModelConfig
from workloads.errors import InputError
from workloads.interop.huggingface.architecture import Architecture
from workloads.interop.huggingface.gpt_neox import GPTNeoX
from workloads.interop.huggingface.llama import Llama

ARCHITECTURES: dict[str, type[Architecture]] = {each.name: each for each in (Llama, GPTNeoX)}
# What no architecture of the table has otherwise.
EVERYWHERE: dict[str, tuple[Any, ...]] = {"position": ("rope",), "inverse_layer_scale": (False,)}


def architecture_of(model: ModelConfig) -> type[Architecture]:
    """Return the architecture that a model has. Raises InputError, with the option that has no
    place in the nearest one, where there is none."""
    if not (model.ffn.is_dense or model.ffn.row.mergeable):
        raise InputError(f"ffn.kind: {model.ffn.kind} is no product of matrices, and has no place")
    misfits = {each: _misfits(model, each) for each in ARCHITECTURES.values()}
    nearest = min(misfits, key=lambda each: len(misfits[each]))
    for option, values in misfits[nearest].items():
        given = str(getattr(model, option)).lower()
        listed = " or ".join(str(value).lower() for value in values)
        raise InputError(
            f"{option}: {given} has no place in {nearest.name}, the nearest architecture; it has "
            f"{option}: {listed}"
        )
    return nearest


def _misfits(model: ModelConfig, architecture: type[Architecture]) -> dict[str, tuple[Any, ...]]:
    has = EVERYWHERE | architecture.has(model)
    return {
        option: values for option, values in has.items() if getattr(model, option) not in values
    }
