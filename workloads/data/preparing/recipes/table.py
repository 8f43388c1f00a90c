"""The table of recipes: a recipe is a class in a file beside this one and one row here."""

from __future__ import annotations

from workloads.data.preparing.recipes.in_order import InOrder, Prts
from workloads.data.preparing.recipes.llm_baselines import LlmBaselines
from workloads.data.preparing.recipes.recipe import Recipe
from workloads.data.preparing.recipes.structured_ffn import StructuredFFN

DEFAULT_RECIPE = "default"
RECIPES: dict[str, Recipe] = {
    DEFAULT_RECIPE: InOrder(),
    "structured-ffn": StructuredFFN(),
    "prts": Prts(),
    "llm-baselines": LlmBaselines(),
}
