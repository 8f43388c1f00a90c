"""Stack: depth by copies of layers.

The first layers repeat over and over, each beside itself, or as a layer map says (G_direct in
depth, G_stack of Du et al. 2024, arXiv 2405.15319, section 3).
"""

from __future__ import annotations

from workloads.nn.growth.operator import Operator, layers_from
from workloads.nn.growth.widening import Weights


class Stack(Operator):
    """Copies of layers; the function changes, because layers act on other inputs."""

    def deepen(self, weights: Weights) -> Weights:
        return layers_from(self.plan.layer_map, weights, self.plan.model, {})

    def preserves(self) -> bool:
        return False

    def moves_after(self) -> dict[str, int]:
        return {"copied layers": 1}
