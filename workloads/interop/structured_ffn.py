"""Weights trained by the paper's public implementation, as a `Transformer`.

The state dict is that of CLAIRE-Labo/StructuredFFN (Wei et al. 2024, arXiv 2406.16450), alone or
as `model` of a checkpoint. What its shapes cannot tell is taken from the configuration: the
number of heads, RoPE's base, how attention is scaled. LayerNorms keep their biases under
`bias: false`, as they do there. Outputs agree to rounding. That code computes GELU by tanh, which
is `activation: gelu_tanh` here: with `gelu`, the exact one, logits differ by 1e-4 of their size.

Guides whose guide weight has reached 0 are dropped. Those of a run that is still guided are kept
with theirs; `count` is the step from which `set_guides` continues.
"""

from __future__ import annotations

import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workloads.config.ffn_kinds import FFN_KINDS, SIZES
from workloads.config.model import ModelConfig, layer_ffns
from workloads.errors import InputError
from workloads.interop.entries import difference, listed
from workloads.interop.model_file import guides_of, is_model, save_model
from workloads.nn.ffn import projection_class
from workloads.nn.outline import filled, outline
from workloads.nn.transformer import Transformer

GUIDE = ("guide_linear", "count", "ratio")
# The configuration's field that each axis follows.
AXES: dict[str, tuple[str, ...]] = {
    "wte.weight": ("vocab_size", "hidden_dim"),
    "wpe.weight": ("block_size", "hidden_dim"),
    "lm_head.weight": ("vocab_size", "hidden_dim"),
    "o_linear.weight": ("hidden_dim", "attn_dim"),
    "qkv_linear.weight": ("num_kv_heads", "hidden_dim"),
    "qkv_linear.bias": ("num_kv_heads",),
}
PROJECTION_AXES = {"bias": "m", "guide_linear": "mn"}
PROJECTION_AXES |= {
    name: axes
    for kind in FFN_KINDS
    for name, axes in projection_class(kind).reference_weights.values()
}
OTHER = {"rope": "absolute", "absolute": "rope", "layernorm": "rmsnorm", "rmsnorm": "layernorm"}
logger = logging.getLogger(__name__)


def load_structured_ffn(state_dict: Mapping[str, Any], config: ModelConfig) -> Transformer:
    """Return the public implementation's weights as a model of `config`, on the CPU in fp32.

    Raises InputError where the two do not fit, with the entry and the remedy.
    """
    if config.scaling:
        raise InputError("recipe: that code multiplies no outputs; remove it")
    found = _entries(state_dict)
    with_guides = _guides_remain(found, config)
    if not with_guides:
        found = {name: found[name] for name in found if not _is_guide(name)}
    model = outline(config, with_guides, norm_biases="model.ln_f.bias" in found)
    names = _reference_names(model)
    _check_names(found, names, model)
    _check_shapes(found, names, model)
    _check_tying(found, config)
    if config.norm == "layernorm" and "model.ln_f.bias" not in found:
        logger.warning("norms have no biases; if they are RMSNorms, set model.norm: rmsnorm")
    shares = {name: found[f"model.{name}.ratio"] for name in guides_of(model)}
    return filled(model, {ours: found[theirs] for theirs, ours in names.items()}, shares)


def import_reference(path: Path, config: ModelConfig, out: Path) -> Transformer:
    """Load a checkpoint file as `load_structured_ffn` does, and save it as the model file `out`.

    Raises InputError where the checkpoint does not fit, or `out` is another kind of file.
    """
    if out.exists() and not is_model(out):
        raise InputError(f"{out}: exists and is not an imported model; choose another name")
    content = _read(path)
    try:
        model = load_structured_ffn(content, config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    save_model(model, out)
    return model


# The file of the public implementation


def _read(path: Path) -> Any:
    """Return the content of `path`. No code in it runs: objects beside its tensors are refused."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}; check the path") from error
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged pickle can fail in any way.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        whole = isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path)
        if not named and not whole:
            raise InputError(
                f"{path}: is damaged or not a checkpoint that torch.save wrote; get it anew"
            ) from error
        raise InputError(
            f"{path}: holds pickled objects{f' ({named[1]})' if named else ''} beside its tensors, "
            "and loading them could run any code; where you trust the file, save its weights "
            f"alone: torch.save(torch.load({str(path)!r}, weights_only=False)['model'], "
            "'weights.pth')"
        ) from error


def _entries(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors by name, without wrappers' prefixes and the state of fp8 recipes."""
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError("holds no state dict; save the model's state_dict(), alone or as 'model'")
    if content and all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    # Transformer Engine's modules save such an entry; it has no weights.
    entries = {n: value for n, value in content.items() if not n.endswith("._extra_state")}
    for name, value in entries.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{name} is a {type(value).__name__}, not a tensor; remove it")
    if "model.wte.weight" not in entries:
        raise InputError(
            f"model.wte.weight is not among the entries ({listed(entries) or 'there are none'}); "
            "give a state dict of the public implementation"
        )
    return entries


# Guides


def _is_guide(name: str) -> bool:
    return ".mlp." in name and name.endswith(tuple(f".{leaf}" for leaf in GUIDE))


def _guides_remain(found: Mapping[str, Tensor], config: ModelConfig) -> bool:
    """Return whether there are guides whose guide weight has not reached 0."""
    entries = [name for name in found if _is_guide(name)]
    ratios = [found[name] for name in entries if name.endswith(".ratio")]
    guides = sum(name.endswith(".guide_linear") for name in entries)
    if len(ratios) >= guides and not any(map(torch.count_nonzero, ratios)):
        return False
    if config.guide is None:
        share = f" with ratio {ratios[0].max():.4g}" if ratios else ""
        raise InputError(
            f"{entries[0]}: its projection is still guided{share}, and the configuration has no "
            "guide; add guide: {ratio: ...} as it was trained with"
        )
    return True


# What is expected


def _reference_names(model: Transformer) -> dict[str, str]:
    """Return the name here of each parameter, by its name there.

    Those whose shapes follow from one field alone come first.
    """
    names = {}
    for ours, _ in model.named_parameters():
        theirs = ours if ours.startswith("lm_head.") else f"model.{ours}"
        names[theirs.replace(".attention.", ".")] = ours
    for layer, ffn in enumerate(layer_ffns(model.config)):
        for projection in ("fc1", "fc2"):
            prefix = f"layers.{layer}.mlp.{projection}"
            known = projection_class(ffn.kind).reference_weights.items()
            pairs = [(ours, theirs) for ours, (theirs, _) in known]
            for ours, theirs in [*pairs, ("guide", "guide_linear")]:
                if f"model.{prefix}.{ours}" in names:
                    del names[f"model.{prefix}.{ours}"]
                    names[f"model.{prefix}.{theirs}"] = f"{prefix}.{ours}"
    # The rows of qkv_linear and of fc1 follow from two fields each, of which others give one.
    return dict(sorted(names.items(), key=lambda item: ".qkv_" in item[0] or ".fc1." in item[0]))


# What does not fit


def _check_names(found: Mapping[str, Tensor], names: Mapping[str, str], model: Transformer) -> None:
    expected = dict.fromkeys([*names, *_guide_scalars(model)])
    optional = {"lm_head.weight"} if model.config.tie_embeddings else set()
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected and name not in optional]
    if missing or unexpected:
        raise InputError(
            "the checkpoint is not of this configuration: "
            f"{difference(missing, unexpected)}; "
            f"{_names_remedy(found, missing, unexpected, model.config)}"
        )


def _guide_scalars(model: Transformer) -> list[str]:
    return [f"model.{name}.{leaf}" for name in guides_of(model) for leaf in ("count", "ratio")]


def _check_shapes(
    found: Mapping[str, Tensor], names: Mapping[str, str], model: Transformer
) -> None:
    shapes = {theirs: model.get_parameter(ours).shape for theirs, ours in names.items()}
    shapes |= dict.fromkeys(_guide_scalars(model), torch.Size())
    for name, shape in shapes.items():
        tensor = found[name]
        if tensor.shape != shape:
            raise InputError(
                f"{name} is {tuple(tensor.shape)} in the checkpoint and {tuple(shape)} in the "
                f"configuration; {_size_remedy(name, tensor.shape, shape, model.config)}"
            )
        if not tensor.is_floating_point() and not name.endswith(".count"):
            raise InputError(f"{name} is of {tensor.dtype}; save it as floating-point numbers")


def _check_tying(found: Mapping[str, Tensor], config: ModelConfig) -> None:
    head = found.get("lm_head.weight")
    tied = head is None or torch.equal(head, found["model.wte.weight"])
    if tied != config.tie_embeddings:
        raise InputError(
            f"lm_head.weight {'equals' if tied else 'differs from'} model.wte.weight; set "
            f"model.tie_embeddings: {str(tied).lower()}"
        )


def _names_remedy(
    found: Mapping[str, Tensor], missing: list[str], unexpected: list[str], config: ModelConfig
) -> str:
    """Return the field to set, as far as the entries' names tell."""
    layers = {int(match[1]) for name in found if (match := re.match(r"model\.layers\.(\d+)", name))}
    if layers == set(range(len(layers))) and len(layers) != config.num_layers:
        return f"set model.num_layers: {len(layers)}"
    kinds = [_kind(found, layer) for layer in range(config.num_layers)]
    if kinds[-1] not in (None, layer_ffns(config)[-1].kind):
        return f"set ffn.kind: {kinds[-1]}"
    if kinds[0] not in (None, layer_ffns(config)[0].kind):
        return f"set ffn.keep_first_dense: {str(kinds[0] == 'dense').lower()}"
    if "model.layers.0.o_linear.bias" in missing:
        norm = " and model.norm: rmsnorm" if "model.ln_f.bias" in missing else ""
        return f"set model.bias: false{norm}"
    fields = {
        "model.layers.0.o_linear.bias": "model.bias: true",
        "model.wpe.weight": f"model.position: {OTHER[config.position]}",
        "model.ln_f.bias": f"model.norm: {OTHER[config.norm]}",
        "lm_head.weight": "model.tie_embeddings: true",
    }
    for name, setting in fields.items():
        if name in missing or name in unexpected:
            return f"set {setting}"
    return "give the whole state dict of one model"


def _kind(found: Mapping[str, Tensor], layer: int) -> str | None:
    """Return the FFN kind that a layer's entries are of, or None."""
    prefix = f"model.layers.{layer}.mlp.fc1."
    for kind in FFN_KINDS:
        weights = projection_class(kind).reference_weights.values()
        if weights and all(prefix + name in found for name, _ in weights):
            return kind
    return None


def _size_remedy(name: str, found: torch.Size, expected: torch.Size, config: ModelConfig) -> str:
    """Return the field to set, from the first axis that differs and follows from one field."""
    if len(found) == len(expected):
        for field, size, wanted in zip(_axes(name), found, expected, strict=True):
            if size != wanted and (setting := _setting(field, size, wanted, config)):
                return f"set {setting}"
    return "give a state dict of a model of this shape"


def _axes(name: str) -> tuple[str, ...]:
    owner, leaf = name.split(".")[-2:]
    if owner not in ("fc1", "fc2"):
        return AXES.get(f"{owner}.{leaf}", ("hidden_dim",))
    fields = {size.letter: name for name, size in SIZES.items()}
    fields["k"] = ""  # It follows from the other axes.
    if owner == "fc2":
        fields |= {"n": "ffn_dim", "m": "hidden_dim"}
    else:  # fc2 came first, so ffn_dim is right.
        fields |= {"n": "hidden_dim", "m": "activation"}
    return tuple(fields[axis] for axis in PROJECTION_AXES.get(leaf, ""))


def _setting(field: str, size: int, wanted: int, config: ModelConfig) -> str | None:
    """Return the `field: value` with which an axis would have the size found, or None."""
    if field in config.ffn.sizes:
        value = config.ffn.sizes[field] * size / wanted
        return f"ffn.{field}: {value:.0f}" if value.is_integer() else None
    if field == "activation":
        times = config.ffn_shapes[0][1] * size / wanted / config.ffn_dim
        return {1.0: "model.activation: gelu", 2.0: "model.activation: swiglu"}.get(times)
    if field == "num_kv_heads":
        value = (size - config.attn_dim) / 2 / config.head_dim
    elif field:
        value = getattr(config, field) * size / wanted
    else:
        return None
    return f"model.{field}: {value:.0f}" if value >= 1 and value.is_integer() else None
