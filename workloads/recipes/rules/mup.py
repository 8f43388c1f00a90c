"""`mup`: the maximal update parametrization, by which the best learning rate stays over widths."""

from __future__ import annotations

import math

from workloads.config.scaling import ScalingConfig
from workloads.recipes.rules.rule import Choice, Situation
from workloads.recipes.rules.spectral import initial_factors, rate_factors

# Transfer is shown there from width 256 to 4,096 (arXiv 2203.03466, section 7.3, GPT-3 6.7B).
MOST_WIDER = 16


def mup(at: Situation) -> Choice:
    """Choose scales and rates for a width, from those that were tuned at the base's width.

    Yang et al. 2022 (arXiv 2203.03466), table 8, for Adam, each relative to the base:

    - hidden matrices: initial variance and rate times 1/(ratio of inputs); the factors of an FFN
      each by its own inputs and outputs, other optimizers by the size of their steps (`spectral`);
    - logits: times 1/(ratio of widths); embeddings, head, norms and biases keep scale and rate, so
      that tied embeddings need no more;
    - attention scores: 1/head_dim in place of 1/sqrt(head_dim), equal at the base. `width` keeps
      the size of heads where it can, and then nothing changes.

    The table's entries were written down from memory of the paper and agree with public
    implementations; the paper itself was not at hand.
    """
    heads = math.sqrt(at.base.head_dim / at.run.model.head_dim)
    scaling = ScalingConfig(attention=heads, output=1 / at.width_ratio, initial=initial_factors(at))
    cautions = (*width_cautions(at), *_depth(at))
    return Choice(scaling=scaling, roles=rate_factors(at), cautions=cautions)


def width_cautions(at: Situation) -> list[str]:
    """Say where the width leaves the range in which transfer has been shown."""
    width, base, ratio = at.run.model.hidden_dim, at.base.hidden_dim, at.width_ratio
    if ratio > MOST_WIDER:
        return [
            f"width {width} is {ratio:.3g} times the base's {base}; transfer was shown up to "
            f"{MOST_WIDER} times (arXiv 2203.03466)"
        ]
    if ratio < 1:
        return [f"width {width} is below the base's {base}; rules are for widths above it"]
    return []


def _depth(at: Situation) -> list[str]:
    layers = at.run.model.num_layers
    if layers == at.base_layers:
        return []
    return [
        f"mup does not adapt to depth: {layers} layers, and the base has {at.base_layers}; "
        "completep does"
    ]
