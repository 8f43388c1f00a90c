"""Split: width by copies of features.

What writes a feature writes all its copies, and what reads it reads them with weights that sum to
1, so that the function stays (G_direct in width, arXiv 2405.15319, section 3; Net2Net, Chen et al.
2016, arXiv 1511.05641, section 3). Heads are copied whole, and each logical matrix for itself. All
features have the same number of copies, since norms weigh each feature alike.

Copies of equal weights get equal gradients and stay equal; unequal ones part.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from workloads.nn.growth.operator import Operator
from workloads.nn.growth.widening import (
    Origins,
    Part,
    copied,
    copied_norm,
    grown_matrix,
)


class Split(Operator):
    """Copies of all features of the residual stream, the FFN and the heads."""

    def axis(self, parts: Sequence[Part]) -> Origins:
        return copied(parts, self.plan.options.alpha)

    def matrix(
        self, old: Tensor, out: Origins, into: Origins, held: Tensor, fresh: Tensor
    ) -> Tensor:
        return grown_matrix(old, out, into, held, fresh)

    def norm(self, name: str, old: Tensor, hidden: Origins, fresh: Tensor) -> Tensor:
        return copied_norm(self.plan, name, old, hidden)

    def preserves(self) -> bool:
        return True

    def moves_after(self) -> dict[str, int]:
        return {"copied features": 1}
