"""A planned run: its id, its fingerprint and its cost (no torch and no Ray)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from study.plan.naming import (
    growth_parts,
    guide_parts,
    length_parts,
    mixture_parts,
    optimizer_parts,
    recipe_parts,
    rule_parts,
    shape_parts,
)
from workloads.config.ffn_kinds import SIZES
from workloads.config.fingerprint import fingerprint, identity
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost import flops
from workloads.data.config import MixtureConfig, mixture_label
from workloads.data.texts import Found
from workloads.recipes.presets import PRESETS
from workloads.recipes.rules.table import RULES
from workloads.recipes.variant import Variant

FLOP_CONVENTION: flops.FlopConvention = "paper"


@dataclass(frozen=True)
class Source:
    """One text that a run trains on, and the share of its samples that comes from there."""

    found: Found
    weight: float


@dataclass(frozen=True)
class Text:
    """The text of a run: its sources by name, one without a name where it is no mixture.

    Where not all of it is `at_hand`, fingerprints are placeholders.
    """

    fingerprint: str
    sources: Mapping[str, Source]
    eval_sets: Mapping[str, Found]
    at_hand: bool

    @property
    def eval_fingerprints(self) -> dict[str, str]:
        """The fingerprints of the evaluation sets, by name."""
        return {name: found.fingerprint for name, found in self.eval_sets.items()}

    def recorded_as(self, identity: dict[str, Any]) -> Text | None:
        """Return the text with the fingerprints of a recorded identity; None where it has others'
        evaluation sets."""
        recorded = identity.get("eval_sets", {})
        if recorded.keys() != self.eval_sets.keys():
            return None
        eval_sets = {
            name: replace(found, fingerprint=recorded[name])
            for name, found in self.eval_sets.items()
        }
        return replace(self, fingerprint=identity["data"]["fingerprint"], eval_sets=eval_sets)

    def passes(self, tokens: int) -> dict[str, float]:
        """Return the passes over each source that reading so many tokens makes; over those whose
        size is known."""
        return {
            name: tokens * source.weight / source.found.size.train_tokens
            for name, source in self.sources.items()
            if source.found.size
        }

    def evaluated_tokens(self, eval_tokens: int) -> int:
        """Return the tokens of one evaluation, of the validation splits and evaluation sets."""
        held_out = [source.found for source in self.sources.values()]
        share = eval_tokens // len(held_out)
        wanted = [(found, share) for found in held_out]
        wanted += [(found, eval_tokens) for found in self.eval_sets.values()]
        return sum(
            min(tokens, found.size.val_tokens) if found.size else tokens for found, tokens in wanted
        )


@dataclass(frozen=True)
class Point:
    """One planned run: `variant` is how the study file names it, `config` is the run in full.

    `target_flops` are the training FLOPs that `isoflop` or a twin has the run spend, to
    within 1%. `given_id` is the id of a point that does not have its short id: because the ledger
    has it under another, or because the short id is another point's, too. `next_runtime` is how the
    point is tried once more where it runs out of memory; None where nothing was chosen for it.
    `rule_cautions` say where its transfer rule leaves the range that it is known in.
    """

    variant: Variant
    config: RunConfig
    text: Text
    target_flops: float | None = None
    given_id: str = ""
    next_runtime: RuntimeConfig | None = None
    rule_cautions: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that changes the result (see `workloads.config.fingerprint.identity`)."""
        return identity(self.config, self.text.fingerprint, self.text.eval_fingerprints)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    @property
    def id(self) -> str:
        """Readable and unique in a study."""
        return self.given_id or self.short_id

    @cached_property
    def short_id(self) -> str:
        """The id with rounded numbers, such as `m-lowrank-r256-c1.01e19-seed0`."""
        return self._id(exact=False)

    @property
    def exact_id(self) -> str:
        """The id that no point of another fingerprint has, such as `pico-dense-c2.11e11-steps2001-
        seed0`."""
        return self._id(exact=True)

    def _id(self, exact: bool) -> str:
        ffn, steps = self.config.model.ffn, self.config.steps if exact else None
        parts = [
            *shape_parts(self.variant, exact),
            ffn.kind,
            *ffn.size_labels,
            "" if ffn.keep_first_dense else "alllayers",
            *guide_parts(self.config.model.guide, exact),
            *growth_parts(self.variant),
            *length_parts(self.variant, self.train_flops, steps),
            *recipe_parts(self.variant, exact),
            *mixture_parts(self.variant, exact),
            *optimizer_parts(self.variant),
            *rule_parts(self.variant),
            f"seed{self.config.seed}",
        ]
        return "-".join(part for part in parts if part)

    @cached_property
    def params(self) -> flops.ParamCount:
        return flops.count_params(self.config.model)

    @cached_property
    def train_flops(self) -> int:
        return flops.train_flops(self.config, FLOP_CONVENTION)

    @property
    def _growth_factor(self) -> float | None:
        """Layers times width of the model over those of its first base; None without growth."""
        model = self.config.model
        if not model.growths:
            return None
        base = model.growths[0].base
        return model.num_layers * model.hidden_dim / (base.num_layers * base.hidden_dim)

    @property
    def _base_train_flops(self) -> int | None:
        """Training FLOPs before the last growth, those of learned matrices included; None without
        growth."""
        if not self.config.model.growths:
            return None
        return flops.train_flops_at(self.config, self.config.phases[-1].start, FLOP_CONVENTION)

    @property
    def _recipe_base(self) -> str | None:
        """The width and layers at which the rates of the transfer rule were tuned, as `64x3`; None
        under a rule without a base."""
        if not RULES[self.variant.recipe.rule].has_base:
            return None
        preset = PRESETS[self.variant.preset].model
        return "x".join(map(str, self.variant.recipe.base_of(preset)))

    @property
    def passes_by_source(self) -> dict[str, float]:
        """Passes over each source, of all steps: those that read tokens again included."""
        return self.text.passes(self.config.total_steps * self.config.tokens_per_step)

    @property
    def passes(self) -> float | None:
        """Passes over the training text, of a mixture over the source that is read most often;
        None where the size of the text is not known."""
        return max(self.passes_by_source.values(), default=None)

    @property
    def mixture(self) -> str | None:
        """The weights of the sources in words; None where the text is no mixture."""
        data = self.config.data
        return mixture_label(data.weights) if isinstance(data, MixtureConfig) else None

    def summary(self) -> dict[str, Any]:
        """Return the planned quantities by the names that they keep up to the plot."""
        model = self.config.model
        return {
            "preset": self.variant.preset,
            "width": self.variant.width,
            "arm": self.variant.arm_name(),
            "ffn_kind": model.ffn.kind,
            **{f"ffn_{name}": model.ffn.sizes.get(name) for name in SIZES},
            "ffn_fraction": flops.ffn_fraction(model),
            "guide_ratio": model.guide.ratio if model.guide else None,
            "guide_mode": model.guide.mode if model.guide else None,
            "growth": self.variant.growth_label() or None,
            "growth_factor": self._growth_factor,
            "base_train_flops": self._base_train_flops,
            "recipe": self.variant.recipe.rule,
            "recipe_base": self._recipe_base,
            "hidden_dim": model.hidden_dim,
            "num_layers": model.num_layers,
            "params": self.params.total,
            "ffn_params": self.params.ffn,
            "tokens": self.config.tokens,
            "passes": self.passes,
            "mixture": self.mixture,
            "steps": self.config.total_steps,
            "batch_size": self.config.batch_size,
            "tokens_per_step": self.config.tokens_per_step,
            "train_flops": self.train_flops,
            "flop_convention": FLOP_CONVENTION,
            "optimizer": self.config.optimizer.label(),
            "learning_rate": self.config.optimizer.learning_rate,
            "seed": self.config.seed,
        }
