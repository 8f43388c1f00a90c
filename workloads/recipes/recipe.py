"""`Recipe`: one run as a person writes it, and the full configuration that it stands for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import Field, PositiveInt

from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost import flops
from workloads.data.config import AnyText, AnyTextField, DataConfig, EvalSets, MixtureConfig
from workloads.errors import Misfit
from workloads.optim.config import OptimizerOptions
from workloads.optim.kinds import completed, of_run
from workloads.recipes.budget import Budget, Unreachable, check_spends, matching_ratios
from workloads.recipes.grow_choice import grown_from
from workloads.recipes.presets import PRESETS
from workloads.recipes.rule_choice import RuleChoice, ruled
from workloads.recipes.rules.rule import Choice, Situation
from workloads.recipes.variant import FFNChoice, Variant
from workloads.recipes.width import scale
from workloads.schema import strict_yaml


class Recipe(Variant):
    """One run as a person writes it; what is left out is the preset's."""

    data: AnyTextField = DataConfig()
    """The text that is trained on."""
    eval_sets: EvalSets = Field(default_factory=dict)
    """Texts whose validation splits are evaluated beside the data's own, by the names that their
    metrics get."""
    eval_tokens: PositiveInt | None = None
    """Validation tokens of an evaluation; left out, the preset's."""
    runtime: RuntimeConfig | None = None
    """How the run executes."""

    def resolve(self) -> RunConfig:
        """Return the run in full.

        Raises ValueError where the parts do not fit together, and Unreachable where no run of
        whole steps spends `target_flops`.
        """
        return self.resolved()[0]

    def resolved(self) -> tuple[RunConfig, Choice]:
        """Return the run in full, and what its rule has chosen for it."""
        if self.recipe.is_fixed:
            return self._without_rule(), Choice()
        plain = self.model_copy(update={"recipe": RuleChoice()})
        run = plain._without_rule()
        choice = self.recipe.choose(self._situation(run))
        chosen = {"learning_rate": choice.learning_rate, "batch_size": choice.batch_size}
        # What is written counts, and a rule chooses what is not.
        open_ = {n: v for n, v in chosen.items() if v is not None and getattr(self, n) is None}
        if "batch_size" in open_ and self.budget and self.budget.steps:
            raise Misfit(
                f"rule {self.recipe.rule} chooses the batch by the tokens, and budget.steps leaves "
                "these to the batch; give the budget in tokens, or a batch_size",
                *("budget.steps", "budget", "recipe"),
            )
        if open_:
            run = plain.model_copy(update=open_)._without_rule()
        return ruled(run, choice), replace(choice, cautions=(*choice.cautions, *self._base_rate()))

    def _situation(self, run: RunConfig) -> Situation:
        """Return what a rule is given: the run without it, and the base's shape."""
        width, layers = self.recipe.base_of(PRESETS[self.preset].model)
        try:
            dense = scale(self._dense, width / self._dense.hidden_dim)
            parts = {"ffn": self.ffn.resolve(dense).model_dump(), "guide": run.model.guide}
            base = ModelConfig.model_validate(dense.model_dump() | parts)
        except ValueError as error:
            raise Misfit(
                f"of the same model in the base's width {width}: {strict_yaml.reason(error)}",
                *("recipe.base_width", "recipe", "ffn"),
            ) from error
        return Situation(run, base, layers)

    def _base_rate(self) -> list[str]:
        """Say where the rate is a preset's, and the base is not of that preset's width."""
        preset, width = PRESETS[self.preset], self.recipe.base_width
        if self.learning_rate or width in (None, preset.model.hidden_dim):
            return []
        return [
            f"learning rate {preset.learning_rate:g} is that of {self.preset}, of width "
            f"{preset.model.hidden_dim}, and base_width {width} takes it as tuned there; give "
            "learning_rate"
        ]

    def _without_rule(self) -> RunConfig:
        """Return the run in full as it is under `recipe: fixed`."""
        if self.matches_dense:
            return self._matched(self.dense_twin().resolve())
        if self.matches_scratch:
            model, spent = self._model(None), flops.train_flops(self._scratch_twin())
            return self._spending(model, spent)
        budget = self._budget
        if budget.match_flops_of == "dense":  # of a dense run itself
            return self.dense_twin().resolve()
        if budget.match_flops_of:  # of a run that does not grow
            return self.model_copy(update={"budget": budget.of_twin()}).resolve()
        model = self._model(self.guide and self.guide.ratio)
        if budget.exact_flops:
            return self._spending(model, budget.exact_flops)
        return self._run(model, budget.resolve(model, self._optimizer, self._batch_size))

    @property
    def target_flops(self) -> float | None:
        """The training FLOPs that the run is to spend, to within 1%; None where none are named."""
        exact = self.budget and self.budget.exact_flops
        if exact is None and self.matches_dense:
            return flops.train_flops(self.dense_twin().resolve())
        if exact is None and self.matches_scratch:
            return flops.train_flops(self._scratch_twin())
        return exact

    def dense_twin(self) -> Recipe:
        """Return the same run with a dense FFN and no guide, under the same budget."""
        budget = self.budget and self.budget.of_twin()
        return self.model_copy(update={"ffn": FFNChoice(), "guide": None, "budget": budget})

    def _scratch_twin(self) -> RunConfig:
        """Return the run that trains the grown model from its first step."""
        budget = (self.budget and self.budget.of_twin()) or Budget(tokens=self._preset_tokens)
        model = self._model(None).model_copy(update={"growth": None})
        if budget.exact_flops:
            return self._spending(model, budget.exact_flops)
        return self._run(model, budget.resolve(model, self._optimizer, self._batch_size))

    def _matched(self, twin: RunConfig) -> RunConfig:
        """Return this run at its twin's FLOPs: by the guide's ratio where it may be chosen, or by
        tokens."""
        exact = self.budget and self.budget.exact_flops
        spent = exact or flops.train_flops(twin)
        if self.guide is None or self.guide.ratio is not None:
            return self._spending(self._model(self.guide and self.guide.ratio), spent)
        ratios = matching_ratios(
            self._model(1.0), self._optimizer, twin.tokens_per_step, twin.steps, spent
        )
        return _nearest([self._run(self._model(ratio), twin.steps) for ratio in ratios], spent)

    def _spending(self, model: ModelConfig, train_flops: float) -> RunConfig:
        """Return the run whose whole steps come nearest to `train_flops`."""
        below = flops.affordable_steps(model, self._optimizer, self._batch_size, train_flops)
        if below * (model.guide.ratio if model.guide else 1) < 1:
            step = "one guided step" if model.guide else "one step"
            raise Unreachable(f"{train_flops:.4g} FLOPs pay for less than {step}; raise them")
        return _nearest([self._run(model, steps) for steps in (below, below + 1)], train_flops)

    @property
    def _optimizer(self) -> OptimizerOptions:
        preset = PRESETS[self.preset].optimizer
        return completed(self.optimizer, preset) if self.optimizer else preset

    @property
    def _budget(self) -> Budget:
        return self.budget or Budget(tokens=self._preset_tokens)

    @property
    def _preset_tokens(self) -> int:
        return PRESETS[self.preset].tokens

    @property
    def _batch_size(self) -> int:
        return self.batch_size or PRESETS[self.preset].batch_size

    @property
    def _micro_batch_size(self) -> int:
        """The largest divisor of the batch that does not exceed the preset's micro-batch."""
        most = min(PRESETS[self.preset].micro_batch_size, self._batch_size)
        return next(size for size in range(most, 0, -1) if self._batch_size % size == 0)

    @property
    def _data(self) -> AnyText:
        """The text with the weights of this run."""
        if isinstance(self.data, MixtureConfig):
            return self.data.weighted(self.mixture or self.data.weights)
        if self.mixture:
            problem = "mixture weighs the sources of data; name them there, as data: {sources: ...}"
            raise Misfit(problem, "mixture")
        return self.data

    @property
    def _dense(self) -> ModelConfig:
        """The shape of the run, with a dense FFN."""
        return scale(self.model.apply(PRESETS[self.preset].model), self.width)

    def _model(self, guide_ratio: float | None) -> ModelConfig:
        dense = self._dense
        guide = self.guide.resolve(guide_ratio) if self.guide and guide_ratio else None
        parts = {"ffn": self.ffn.resolve(dense).model_dump(), "guide": guide}
        model = ModelConfig.model_validate(dense.model_dump() | parts)
        return grown_from(model, self.grow, self._batch_size * model.block_size, self._steps_of)

    def _steps_of(self, model: ModelConfig) -> int | None:
        """Return the fresh steps of a run with the model, None where they follow from FLOPs."""
        budget = self._budget
        if budget.match_flops_of or not (budget.tokens or budget.steps or budget.tokens_per_param):
            return None
        return budget.resolve(model, self._optimizer, self._batch_size)

    def _run(self, model: ModelConfig, steps: int) -> RunConfig:
        preset = PRESETS[self.preset]
        if steps == 0:
            raise Misfit(
                f"the budget pays for less than one step of {self._batch_size} x "
                f"{model.block_size} tokens; raise it",
                *("budget", "batch_size", "model.block_size"),
            )
        if steps >= flops.MOST_STEPS:
            raise Misfit(f"the budget pays for {steps:.3g} steps; lower it", "budget")
        rate = self.learning_rate or preset.learning_rate
        return RunConfig(
            model=model,
            data=self._data,
            eval_sets=self.eval_sets,
            optimizer=of_run(self._optimizer, rate),
            batch_size=self._batch_size,
            steps=steps,
            seed=self.seed,
            eval_tokens=self.eval_tokens or preset.eval_tokens,
            runtime=self.runtime or RuntimeConfig(micro_batch_size=self._micro_batch_size),
        )


def _nearest(runs: list[RunConfig], train_flops: float) -> RunConfig:
    """Return the run that comes nearest to `train_flops`. Raises Unreachable where it differs by
    more than 1%."""
    nearest = min(runs, key=lambda run: abs(flops.train_flops(run) - train_flops))
    return check_spends(nearest, train_flops)


def load_run(path: Path) -> RunConfig:
    """Return the run that a recipe file describes. Raises InputError for a mistake in it."""
    recipe = strict_yaml.load(path, Recipe)
    if recipe.value.runtime and recipe.value.runtime.fit:
        problem = "is for study files, which state hardware; remove it, and choose from the "
        raise recipe.error(("runtime", "fit"), problem + "settings of python -m workloads memory")
    try:
        return recipe.value.resolve()
    except ValueError as error:
        place = recipe.first_written(strict_yaml.blamed(error))
        raise recipe.error(place, strict_yaml.reason(error)) from error
