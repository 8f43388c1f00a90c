"""spec -> points: what the study will run, each with an id, a fingerprint and its cost.

Pure functions of the study file and the text it trains on; no torch and no Ray.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from study.spec import StudySpec
from study.spec import load as load_spec
from workloads import flops
from workloads.config import GuideConfig, RunConfig, fingerprint, identity
from workloads.data import shards
from workloads.presets import ModelChanges, Recipe, Variant
from workloads.strict_yaml import Loaded, Location, reason

# How ids abbreviate the sizes of a changed model.
SIZE_LETTERS = {
    "vocab_size": "v",
    "block_size": "t",
    "num_layers": "l",
    "hidden_dim": "d",
    "ffn_dim": "f",
    "attn_dim": "a",
    "num_heads": "q",
    "num_kv_heads": "kv",
}
FLOP_CONVENTION: flops.FlopConvention = "paper"


@dataclass(frozen=True)
class Point:
    """One planned run: `variant` is how the study file names it, `config` is the run in full."""

    variant: Variant
    config: RunConfig
    data_fingerprint: str

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that changes the result (see `workloads.config.identity`)."""
        return identity(self.config, self.data_fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    @cached_property
    def id(self) -> str:
        """Readable and unique in a study, such as `m-lowrank-r256-c1.01e19-seed0`."""
        ffn, rate = self.config.model.ffn, self.variant.learning_rate
        parts = [
            self.variant.preset.removeprefix("transformer-"),
            *_model_parts(self.variant.model),
            ffn.kind,
            f"r{ffn.rank}" if ffn.rank else "",
            f"b{ffn.nblocks}" if ffn.nblocks else "",
            "" if ffn.keep_first_dense else "alllayers",
            *_guide_parts(self.config.model.guide),
            f"c{self.train_flops:.2e}".replace("e+", "e"),
            f"lr{rate:g}" if rate else "",
            f"seed{self.config.seed}",
        ]
        return "-".join(part for part in parts if part)

    @cached_property
    def params(self) -> flops.ParamCount:
        return flops.count_params(self.config.model)

    @cached_property
    def train_flops(self) -> int:
        return flops.train_flops(self.config, FLOP_CONVENTION)

    def summary(self) -> dict[str, Any]:
        """The planned quantities under the names they have from here to the plot."""
        model = self.config.model
        return {
            "preset": self.variant.preset,
            "arm": self.variant.arm_name(),
            "ffn_kind": model.ffn.kind,
            "ffn_rank": model.ffn.rank,
            "ffn_nblocks": model.ffn.nblocks,
            "ffn_fraction": flops.ffn_fraction(model),
            "guide_ratio": model.guide.ratio if model.guide else None,
            "guide_mode": model.guide.mode if model.guide else None,
            "params": self.params.total,
            "ffn_params": self.params.ffn,
            "tokens": self.config.tokens,
            "steps": self.config.total_steps,
            "train_flops": self.train_flops,
            "flop_convention": FLOP_CONVENTION,
            "learning_rate": self.config.optimizer.learning_rate,
            "seed": self.config.seed,
        }


@dataclass(frozen=True)
class Study:
    """A planned study and its places on disk."""

    spec: Loaded[StudySpec]
    points: list[Point]
    runs_dir: Path

    @property
    def name(self) -> str:
        return self.spec.value.study

    @property
    def directory(self) -> Path:
        return (self.runs_dir / self.name).resolve()

    @property
    def data_root(self) -> Path:
        return self.runs_dir / "data"

    def run_dir(self, point: Point) -> Path:
        return self.directory / "points" / point.id


def load(path: Path, runs_dir: Path) -> Study:
    """Read and plan a study file. Raises InputError for a mistake in it."""
    spec = load_spec(path)
    return Study(spec, points(spec), runs_dir)


def points(spec: Loaded[StudySpec]) -> list[Point]:
    """Every point of the study, in the order of the file.

    Raises InputError when parts do not fit together, two points are the same, or the sum of
    training FLOPs passes `max_total_flops`.
    """
    data_fingerprint = shards.fingerprint(spec.value.data)
    planned: dict[str, Point] = {}
    for location, variant in _variants(spec.value):
        point = _point(spec, location, variant, data_fingerprint)
        if point.id in planned:
            raise spec.error(location, f"{point.id} is in the study already; remove one of the two")
        planned[point.id] = point
    _check_total(spec, list(planned.values()))
    return list(planned.values())


def as_json(
    study: Study, states: Mapping[str, str], seconds: Mapping[str, float], basis: str
) -> dict[str, Any]:
    """The plan for machines: exact numbers, estimated seconds on this machine, ledger states."""
    return {
        "study": study.name,
        "flop_convention": FLOP_CONVENTION,
        "estimate_basis": basis,
        "points": [
            {
                "id": point.id,
                "fingerprint": point.fingerprint,
                "preset": point.variant.preset,
                "model": point.config.model.model_dump(exclude={"ffn", "guide"}),
                "ffn": point.config.model.ffn.model_dump(),
                "guide": point.config.model.guide and point.config.model.guide.model_dump(),
                **point.summary(),
                "estimated_seconds": seconds[point.id],
                "state": states[point.id],
            }
            for point in study.points
        ],
        "totals": {
            "points": len(study.points),
            "tokens": sum(point.config.tokens for point in study.points),
            "train_flops": sum(point.train_flops for point in study.points),
            "max_total_flops": study.spec.value.max_total_flops,
        },
    }


def _variants(spec: StudySpec) -> Iterator[tuple[Location, Variant]]:
    """Grid points, then rows, each with the part of the file to blame for it."""
    if grid := spec.grid:
        for preset, (index, ffn), guide, rate, seed in itertools.product(
            grid.preset, enumerate(grid.ffn), grid.guide, grid.learning_rate or [None], grid.seed
        ):
            if ffn.kind == "dense" and guide != grid.guide[0]:
                continue  # there is nothing to guide: a dense point stands once
            variant = Variant(
                preset=preset,
                model=grid.model,
                ffn=ffn,
                guide=None if ffn.kind == "dense" else guide,
                learning_rate=rate,
                seed=seed,
            )
            yield ("grid", "ffn", index), variant
    for index, row in enumerate(spec.points):
        yield ("points", index), row


def _point(
    spec: Loaded[StudySpec], location: Location, variant: Variant, data_fingerprint: str
) -> Point:
    study = spec.value
    recipe = Recipe(
        preset=variant.preset,
        model=variant.model,
        ffn=variant.ffn,
        guide=variant.guide,
        budget=variant.budget or study.budget,
        learning_rate=variant.learning_rate,
        seed=variant.seed,
        data=study.data,
        optimizer=study.optimizer,
        eval_tokens=study.eval_tokens,
        runtime=study.runtime,
    )
    try:
        return Point(variant, recipe.resolve(), data_fingerprint)
    except ValueError as error:
        message = f"with preset {variant.preset}: {reason(error)}"
        raise spec.error(location, message) from error


def _model_parts(changes: ModelChanges) -> list[str]:
    """The parts of an id that tell a changed model: `f4864-kv4`, `rmsnorm`, `bias=False`."""
    return [
        f"{SIZE_LETTERS[name]}{value}"
        if name in SIZE_LETTERS
        else (value if isinstance(value, str) else f"{name}={value}")
        for name, value in changes.written().items()
    ]


def _guide_parts(guide: GuideConfig | None) -> list[str]:
    """The parts of an id that tell a guide: its ratio, and what differs from the defaults."""
    if guide is None:
        return []
    changed = guide.model_dump(exclude_defaults=True, exclude={"ratio", "reduce_flops"})
    whole = [] if guide.reduce_flops else ["everystep"]
    return [f"guided{guide.ratio:g}", *changed.values(), *whole]


def _check_total(spec: Loaded[StudySpec], planned: list[Point]) -> None:
    total, cap = sum(point.train_flops for point in planned), spec.value.max_total_flops
    if total > cap:
        raise spec.error(
            ("max_total_flops",),
            f"the {len(planned)} points need {total:.4g} training FLOPs; raise it to that or "
            "remove points",
        )
