"""`step_law`: learning rate and batch as power laws of parameters and tokens."""

from __future__ import annotations

from workloads.cost.flops import count_params
from workloads.recipes.rules.rule import Choice, Situation

# The runs that the law was fitted to, as (least, most).
FITTED_PARAMS = 6e7, 1.1e9
FITTED_TOKENS = 2e9, 1e11
# Sequences of a batch are a multiple of this many, which divides among workers.
MULTIPLE = 8


def step_law(at: Situation) -> Choice:
    """Choose the peak rate and the batch for N parameters without embeddings and D tokens.

    Li et al. 2025 (arXiv 2503.04715): rate 1.79 N^-0.713 D^0.307, batch 0.58 D^0.571 tokens. It was
    fitted to dense and mixture-of-experts models with AdamW and a cosine schedule. The formulas
    were checked against public summaries; the fitted range (`FITTED_PARAMS`, `FITTED_TOKENS`) is
    from memory of the paper, which was not at hand. The law knows no FFN kind: a structured one
    counts by its weights.
    """
    run = at.run
    count = count_params(run.model)
    head = 0 if run.model.tie_embeddings else run.model.vocab_size * run.model.hidden_dim
    params, tokens = count.total - count.embedding - head, run.tokens
    rate = 1.79 * params**-0.713 * tokens**0.307
    sequences = 0.58 * tokens**0.571 / run.model.block_size
    return Choice(
        # Rounded, because powers differ in their last digits from machine to machine.
        learning_rate=float(f"{rate:.4g}"),
        batch_size=max(1, round(sequences / MULTIPLE)) * MULTIPLE,
        cautions=(
            *_outside("parameters without embeddings", params, *FITTED_PARAMS),
            *_outside("tokens", tokens, *FITTED_TOKENS),
        ),
    )


def _outside(what: str, value: float, least: float, most: float) -> list[str]:
    if least <= value <= most:
        return []
    return [
        f"{value:.3g} {what} are outside the {least:.2g} to {most:.2g} that step_law was fitted to "
        "(arXiv 2503.04715)"
    ]
