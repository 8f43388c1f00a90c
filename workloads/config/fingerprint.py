"""The identity of a run: all that changes its result. Its hash, the fingerprint, is how a finished
run is recognised.

Recorded runs are recognised for ever, while configurations gain fields. So a field that came after
version 1 stands in an identity only where it differs from its default: a run that does not use the
field keeps the fingerprint that it had before the field was there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from workloads.config.run import RunConfig
from workloads.optim.schedules import SCHEDULES
from workloads.schema.base import Config

# Raised when the rules by which `identity` makes a tree change, never for a new field. It is
# recorded with every run, so that a tree can be read by the rules that made it.
IDENTITY_VERSION = 1

# The fields that stand in an identity whatever their value: those that version 1 had. A new field
# is NOT added here.
VERSION_1_FIELDS = frozenset(
    f"{part}{name}"
    for part, names in {
        "": "model data optimizer batch_size steps seed eval_tokens",
        "model.": "vocab_size block_size num_layers hidden_dim ffn_dim attn_dim num_heads "
        "num_kv_heads position rope_base rope_interpolation norm activation tie_embeddings bias "
        "dropout inverse_layer_scale ffn guide",
        "model.ffn.": "kind rank nblocks keep_first_dense",
        "model.guide.": "mode reduce_flops schedule init ratio",
        "data.": "source tokenizer val_fraction",
        "optimizer.": "learning_rate betas weight_decay decay max_grad_norm warmup_fraction "
        "warmup_steps decay_fraction min_learning_rate_ratio",
    }.items()
    for name in names.split()
)


def identity(
    config: RunConfig, data_fingerprint: str, eval_fingerprints: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return all that changes the run's result, and nothing else, as a JSON-ready tree.

    Texts are known by the fingerprints of their content: of the training text, and of each
    evaluation set by name. No path is part of it.
    """
    unused: dict[str, Any] = {"optimizer": config.optimizer.unused_fields}
    # How many steps a clock lets be taken is a result.
    steps = ("steps",) if config.clock else ()
    elsewhere = dict.fromkeys(("runtime", "data", "eval_sets", *steps), True)
    dumped = config.model_dump(mode="json", exclude=unused | elsewhere)
    tree = _without_later_defaults(config, dumped)
    text = _without_later_defaults(config.data, config.data.identity, "data.")
    tree["data"] = text | {"fingerprint": data_fingerprint}
    if eval_fingerprints:
        tree["eval_sets"] = dict(eval_fingerprints)
    return tree


def _without_later_defaults(
    config: Config, dumped: dict[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Drop the fields that came after version 1 and have their default."""
    kept: dict[str, Any] = {}
    for name, value in dumped.items():
        path, own = f"{prefix}{name}", getattr(config, name)
        if path not in VERSION_1_FIELDS and own == _default(config, name):
            continue
        nested = isinstance(own, Config)
        kept[name] = _without_later_defaults(own, value, f"{path}.") if nested else value
    return kept


def _default(config: Config, name: str) -> Any:
    """Return the default of a field, which may follow from the configuration's other fields."""
    field = type(config).model_fields[name]
    return field.get_default(call_default_factory=True, validated_data=dict(config))


def trajectory(run_identity: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an identity that decides the run's first `stable_steps` steps:
    all but its length, and the texts that it is only evaluated on.

    Runs of one trajectory, such as `constant` and `wsd`, are the same in the stable phases they
    share.
    """
    optimizer: dict[str, Any] = run_identity["optimizer"]
    schedule = optimizer.get("schedule", "cosine")
    later = {"decay_fraction", "min_learning_rate_ratio"}
    if SCHEDULES[schedule].opening == "constant":
        later.add("schedule")
    optimizer = {k: v for k, v in optimizer.items() if k not in later}
    shared = {k: v for k, v in run_identity.items() if k not in ("steps", "eval_sets")}
    return shared | {"optimizer": optimizer}


def fingerprint(run_identity: dict[str, Any]) -> str:
    """Return 16 hex digits of the SHA-256 of `identity(...)` in canonical JSON."""
    canonical = json.dumps(run_identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as one level with dotted names, leaves unchanged."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
