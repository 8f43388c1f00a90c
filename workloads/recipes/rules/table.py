"""The table of transfer rules: one is a file beside this one and a row here."""

from __future__ import annotations

from workloads.recipes.rules.completep import completep
from workloads.recipes.rules.fixed import fixed
from workloads.recipes.rules.mup import mup
from workloads.recipes.rules.rule import Rule
from workloads.recipes.rules.step_law import step_law

# The first is what a file without `recipe` means.
RULES: dict[str, Rule] = {
    "fixed": Rule(fixed),
    "mup": Rule(mup, has_base=True),
    "completep": Rule(completep, has_base=True),
    "step_law": Rule(step_law),
}
