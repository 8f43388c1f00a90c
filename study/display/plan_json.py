"""The plan as JSON: exact numbers, prices and states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from study.plan.cautions import cautions, most_passes_by_source
from study.plan.planner import Study
from study.plan.points import FLOP_CONVENTION
from study.plan.texts import command
from workloads.cost.accelerators import ACCELERATORS
from workloads.data.texts import Found
from workloads.optim.config import OptimizerConfig


def plan_as_json(
    study: Study,
    states: Mapping[str, str],
    notes: Mapping[str, str],
    seconds: Mapping[str, float],
    basis: str,
) -> dict[str, Any]:
    """Return the plan for machines; `states`, `notes` and `seconds` are by point id.

    `hours` are on one GPU of each accelerator, and under `cpu` on this machine's CPUs as
    `estimated_seconds` are; null where the speed of the CPUs is not known. `asked_flops` is the
    older name of `target_flops`. Where a text is missing, `missing` says what, and `command` makes
    it; the fingerprints of points that read it are placeholders until then.
    """
    prices = {point.id: study.price(point) for point in study.points}
    costs = [each.cost for each in prices.values() if each.cost is not None]
    here = {point.id: seconds.get(point.id) for point in study.points}
    hours = {i: each.hours | {"cpu": _hours(here[i])} for i, each in prices.items()}
    return {
        "study": study.name,
        "flop_convention": FLOP_CONVENTION,
        "estimate_basis": basis,
        "hardware": study.hardware.model_dump(),
        "resources": study.spec.value.resources.model_dump(),
        "points": [
            {
                "id": point.id,
                "fingerprint": point.fingerprint,
                "preset": point.variant.preset,
                "model": point.config.model.model_dump(exclude={"ffn", "guide"}),
                "ffn": point.config.model.ffn.model_dump(),
                "guide": point.config.model.guide and point.config.model.guide.model_dump(),
                "runtime": point.config.runtime.model_dump(exclude={"fit"}),
                "roles": _roles(point.config.optimizer),
                **point.summary(),
                "passes_by_source": point.passes_by_source,
                "target_flops": point.target_flops,
                "asked_flops": point.target_flops,
                **asdict(prices[point.id]),
                "hours": hours[point.id],
                "estimated_seconds": here[point.id],
                "state": states[point.id],
                "note": notes.get(point.id, ""),
            }
            for point in study.points
        ],
        "texts": [_text(study, name, found) for name, found in study.texts.named()],
        "dropped": [asdict(item) for item in study.dropped],
        "cautions": cautions(study),
        "totals": {
            "points": len(study.points),
            "tokens": sum(point.config.tokens for point in study.points),
            "train_flops": sum(point.train_flops for point in study.points),
            "max_search_flops": sum(item.max_train_flops for item in study.searched),
            "max_total_flops": study.spec.value.max_total_flops,
            "hours": {
                name: sum(each.hours[name] for each in prices.values()) for name in ACCELERATORS
            }
            | {"cpu": _hours(sum(seconds.values()) if seconds else None)},
            "max_gpu_hours": study.spec.value.max_gpu_hours,
            "cost": sum(costs) if costs else None,
        },
    }


def _roles(optimizer: OptimizerConfig) -> dict[str, dict[str, float]]:
    """Return what a transfer rule has chosen by role: the factors, and the peak rate."""
    peak = optimizer.learning_rate
    return {
        role: each.model_dump() | {"learning_rate": peak * each.rate}
        for role, each in optimizer.roles.items()
    }


def _text(study: Study, name: str, found: Found) -> dict[str, Any]:
    """Return what is known of a text of the study."""
    passes = most_passes_by_source(study).get(name.removeprefix("sources.").removeprefix("data"))
    return {
        "name": name,
        "source": found.place,
        "fingerprint": None if found.missing else found.fingerprint,
        **(asdict(found.size) if found.size else {}),
        "most_passes": passes,
        "missing": found.missing,
        "command": command(found, study.spec.path) if found.missing else "",
    }


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600
