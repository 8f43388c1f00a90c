"""The identity of a run: all that changes its result. Its hash, the fingerprint, is how a finished
run is recognised.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from workloads.config.run import RunConfig


def identity(config: RunConfig, data_fingerprint: str) -> dict[str, Any]:
    """All that changes the run's result, as a JSON-ready tree; nothing that does not."""
    unused: dict[str, Any] = {"runtime": True, "optimizer": config.optimizer.unused_fields}
    tree = config.model_dump(mode="json", exclude=unused)
    tree["data"]["fingerprint"] = data_fingerprint
    return tree


def trajectory(run_identity: dict[str, Any]) -> dict[str, Any]:
    """What of an identity decides the run's first `stable_steps` steps: all but its length.

    Runs of one trajectory, `constant` or `wsd`, are the same in the stable phases they share.
    """
    later = {"schedule", "decay_fraction", "min_learning_rate_ratio"}
    optimizer = {k: v for k, v in run_identity["optimizer"].items() if k not in later}
    return {k: v for k, v in run_identity.items() if k != "steps"} | {"optimizer": optimizer}


def fingerprint(run_identity: dict[str, Any]) -> str:
    """16 hex digits of the SHA-256 of `identity(...)` in canonical JSON."""
    canonical = json.dumps(run_identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level with dotted names, leaves unchanged."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
