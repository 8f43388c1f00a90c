"""What transfer rules have chosen for the points of a plan, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from study.plan.points import Point
from workloads.config.matrices import hidden_matrices
from workloads.config.run import RunConfig
from workloads.config.scaling import ScalingConfig


def recipe_lines(points: Iterable[Point]) -> list[str]:
    """Return a line for each choice of a rule, with the points that it is for, and with their
    learning rate and batch where they have the same."""
    chosen: dict[str, list[Point]] = {}
    for point in points:
        if not point.variant.recipe.is_fixed:
            chosen.setdefault(factor_words(point.config), []).append(point)
    return [f"recipe: {_who(those)}: {_common(those)}{words}" for words, those in chosen.items()]


def factor_words(run: RunConfig) -> str:
    """Return how a rule has multiplied the rates, weight decays, epsilons and initial weights of
    roles, and the outputs: `rate x0.5, decay x2: mlp.fc1.v; logits x0.5`."""
    roles = run.optimizer.roles
    rates = {
        role: f"rate x{each.rate:.3g}, decay x{each.decay:.3g}"
        for role, each in roles.items()
        if each.rate != 1
    }
    epsilons = {
        role: f"epsilon x{each.epsilon:.3g}"
        for role, each in roles.items()
        if each.epsilon != 1 and role not in rates
    }
    scaling, hidden = run.model.multipliers, {each.role for each in hidden_matrices(run.model)}
    initial = {role: f"initial x{factor:.3g}" for role, factor in scaling.initial.items()}
    grouped = [text for each in (rates, epsilons, initial) for text in _grouped(each, hidden)]
    found = [*grouped, *_outputs(scaling)]
    return "; ".join(found) or "nothing else changes"


def _grouped(words: Mapping[str, str], hidden: set[str]) -> list[str]:
    """Return each wording once, with the roles that it is for."""
    roles: dict[str, list[str]] = {}
    for role, text in words.items():
        roles.setdefault(text, []).append(role)
    return [f"{text}: {_roles(those, hidden)}" for text, those in roles.items()]


def _roles(roles: list[str], hidden: set[str]) -> str:
    if len(hidden) > 1 and set(roles) == hidden:
        return "all hidden matrices"
    return ", ".join(role.removesuffix(".weight") for role in roles)


def _outputs(scaling: ScalingConfig) -> list[str]:
    named = {
        "attention scores": scaling.attention,
        "sublayers": scaling.residual,
        "logits": scaling.output,
    }
    return [f"{name} x{factor:.3g}" for name, factor in named.items() if factor != 1]


def _common(points: list[Point]) -> str:
    runs = [point.config for point in points]
    found = {(run.optimizer.learning_rate, run.batch_size) for run in runs}
    if len(found) > 1:
        return ""
    ((rate, batch),) = found
    return f"learning rate {rate:.4g}, batch_size {batch}; "


def _who(points: list[Point]) -> str:
    others = f" and {len(points) - 1} more" if len(points) > 1 else ""
    return f"{points[0].id}{others}"
