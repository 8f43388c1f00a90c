"""`fixed`: learning rate, batch and initial weights as the preset or the file has them."""

from __future__ import annotations

from workloads.recipes.rules.rule import Choice, Situation


def fixed(at: Situation) -> Choice:
    """Choose nothing."""
    return Choice()
