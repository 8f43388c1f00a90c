"""`completep`: muP, with what keeps the best learning rate over depths, too."""

from __future__ import annotations

from collections.abc import Mapping

from workloads.optim.roles import LAYERS, OUTSIDE, Factors
from workloads.recipes.rules.mup import mup, width_cautions
from workloads.recipes.rules.rule import Choice, Situation

# Models of 2 to 128 layers (arXiv 2505.01618).
MOST_DEEPER = 64


def completep(at: Situation) -> Choice:
    """Choose scales and rates for a width and a depth, from those tuned at the base's.

    Dey et al. 2025 (arXiv 2505.01618), table 1 with alpha = 1, on top of `mup`. With the ratio of
    widths n and of layers l:

    - what each sublayer adds to the residual stream: times l^-alpha = 1/l;
    - rates in the layers: times l^(alpha - 1) = 1, and so those of `mup`;
    - weight decay of hidden matrices: times n, by which rate x decay is that of the base;
    - Adam's epsilon: times 1/(n l) in the layers, 1/n outside.

    The table's entries were written down from memory of the paper and agree with public
    implementations of it; the paper itself was not at hand.
    """
    chosen, n, deeper = mup(at), at.width_ratio, at.depth_ratio
    epsilons = {LAYERS: Factors(epsilon=1 / (n * deeper)), OUTSIDE: Factors(epsilon=1 / n)}
    return Choice(
        scaling=chosen.scaling.model_copy(update={"residual": 1 / deeper}),
        roles={role: f for role, f in epsilons.items() if f.epsilon != 1}
        | _with_epsilon(chosen.roles, epsilons[LAYERS].epsilon),
        cautions=(*width_cautions(at), *_depth_cautions(at)),
    )


def _with_epsilon(roles: Mapping[str, Factors], epsilon: float) -> dict[str, Factors]:
    return {role: each.model_copy(update={"epsilon": epsilon}) for role, each in roles.items()}


def _depth_cautions(at: Situation) -> list[str]:
    layers, ratio = at.run.model.num_layers, at.depth_ratio
    if 1 <= ratio <= MOST_DEEPER:
        return []
    return [
        f"{layers} layers are {ratio:.3g} times the base's {at.base_layers}; transfer was shown "
        f"from 1 to {MOST_DEEPER} times (arXiv 2505.01618)"
    ]
