"""Learn: growth by matrices that are trained by the loss of the grown model while the base is
frozen, and then multiplied out (LiGO; Wang et al. 2023, arXiv 2303.00980, section 3).

A matrix of the base becomes B_out W B_in^T, with a B for the features of each space: the residual
stream, the FFN, queries, keys, values, and those between the factors of a structured projection,
of whose product only the blocks that the structure has are kept. Queries, keys and values are taken
apart, and so are the gate and value of SwiGLU. A layer becomes the sum of the base's layers with
weights of its own for each tensor. At the start B is the identity over normal draws of variance 1
over the new width, and a layer is one of the base's: that is `stack`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kernels.cross_entropy import Reduction
from workloads.config.growth import GrowthPlan
from workloads.errors import InputError
from workloads.nn.growth.operator import Operator, Trace, layers_from, moved
from workloads.nn.growth.widening import Part, Weights, spaces, widened
from workloads.nn.transformer import Transformer

Matrices = Mapping[str, Tensor]


class Learn(Operator):
    """Products of the base's weights with matrices, those of the start where none are given."""

    def __init__(self, plan: GrowthPlan, seed: int = 0, matrices: Matrices | None = None) -> None:
        super().__init__(plan, seed)
        self.matrices = matrices

    def grow(self, weights: Mapping[str, Tensor]) -> Weights:
        matrices = start = self.start(weights)
        if self.matrices is not None:
            _check(self.matrices, start)
            matrices = {name: matrix.to(start[name]) for name, matrix in self.matrices.items()}
        return multiplied_out(self.plan, weights, matrices, self._shapes(weights))

    def start(self, weights: Mapping[str, Tensor]) -> Weights:
        """Return the matrices at the start: `width.SPACE` (new, old features) and `depth.TENSOR`
        (layers of the grown model, of the base), of those layers that have the tensor."""
        plan, draws = self.plan, torch.Generator().manual_seed(self.seed)
        matrices: Weights = {}
        for space, part in sorted(spaces(plan, weights).items()) if plan.widens else ():
            drawn = torch.randn(part.new - part.old, part.old, generator=draws, dtype=torch.double)
            eye = torch.eye(part.old, dtype=torch.double)
            matrices[f"width.{space}"] = torch.cat([eye, drawn * plan.wide.hidden_dim**-0.5])
        for suffix, layers in _layers_of(weights).items() if plan.deepens else ():
            rows = [layer for layer in plan.layer_map if layer in layers]
            one_hot = [[float(layer == row) for layer in layers] for row in rows]
            matrices[f"depth.{suffix}"] = torch.tensor(one_hot, dtype=torch.double)
        like = next(iter(weights.values()))
        return {name: matrix.to(like) for name, matrix in matrices.items()}

    def trace(self, weights: Mapping[str, Tensor]) -> dict[str, Trace]:
        return {}  # Every entry is a sum of many.

    def preserves(self) -> bool:
        return False

    def moves_after(self) -> dict[str, int]:
        return {"all parameters": 1}

    def trainable(self, base: Mapping[str, Tensor]) -> LearnedGrowth:
        """Return the module whose parameters are the matrices."""
        return LearnedGrowth(self.plan, base, self.start(base), self._shapes(base))

    def _shapes(self, weights: Mapping[str, Tensor]) -> Weights:
        """Return weights of the shapes of the base in the new width."""
        like = next(iter(weights.values()))
        fresh = self.fresh(self.plan.wide) if self.plan.widens else {}
        return {name: tensor.to(like) for name, tensor in fresh.items()}


class LearnedGrowth(nn.Module):
    """The grown model while its matrices are trained: they are its only parameters."""

    def __init__(
        self, plan: GrowthPlan, base: Mapping[str, Tensor], start: Matrices, shapes: Weights
    ) -> None:
        super().__init__()
        self.plan, self.base, self.shapes = plan, base, shapes
        self.names = list(start)
        self.matrices = nn.ParameterList([nn.Parameter(start[name]) for name in self.names])
        # Its own parameters are of no use, and not to be trained.
        self._model = [Transformer(plan.model).to(next(iter(base.values())))]

    def forward(
        self, tokens: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """Return what the multiplied-out model gives: logits, or the loss."""
        return functional_call(self._model[0], self.weights(), (tokens, targets, reduction))

    def weights(self) -> Weights:
        """Return the weights of the grown model; differentiable."""
        matrices = dict(zip(self.names, self.matrices, strict=True))
        return multiplied_out(self.plan, self.base, matrices, self.shapes)


def multiplied_out(
    plan: GrowthPlan, base: Mapping[str, Tensor], matrices: Matrices, shapes: Weights
) -> Weights:
    """Return the weights of the grown model; differentiable by the matrices."""
    weights: Weights = dict(base)
    if plan.widens:
        weights = widened(plan, weights, shapes, _Products(matrices))
    return _mixed(plan, weights, matrices) if plan.deepens else weights


class _Products:
    """Growth in width by products. An axis is a list of matrices, each with the features that it
    takes; an axis that does not grow is None."""

    def __init__(self, matrices: Matrices) -> None:
        self.matrices = matrices

    def axis(self, parts: Sequence[Part]) -> list[tuple[Tensor, int]] | None:
        if not all(f"width.{part.space}" in self.matrices for part in parts):
            return None
        return [(self.matrices[f"width.{part.space}"], part.old) for part in parts]

    def matrix(
        self,
        old: Tensor,
        out: list[tuple[Tensor, int]] | None,
        into: list[tuple[Tensor, int]] | None,
        held: Tensor,
        fresh: Tensor,
    ) -> Tensor:
        return held * _expanded(_expanded(old, out).T, into).T

    def norm(
        self, name: str, old: Tensor, hidden: list[tuple[Tensor, int]] | None, fresh: Tensor
    ) -> Tensor:
        return _expanded(old[:, None], hidden)[:, 0]


def _expanded(matrix: Tensor, axis: list[tuple[Tensor, int]] | None) -> Tensor:
    """Return B times the rows of each part of the axis."""
    if axis is None:
        return matrix
    parts = matrix.split([old for _, old in axis])
    return torch.cat([b @ part for (b, _), part in zip(axis, parts, strict=True)])


def _mixed(plan: GrowthPlan, weights: Weights, matrices: Matrices) -> Weights:
    """Return the weights of the grown layers: sums of the base's."""
    model, grown = plan.model, layers_from(plan.layer_map, weights, plan.model, {})
    for suffix, layers in _layers_of(weights).items():
        targets = [at for at, layer in enumerate(plan.layer_map) if layer in layers]
        # What a copy of one layer would be in each place, which may differ by its scores' scale.
        for row, at in zip(matrices[f"depth.{suffix}"], targets, strict=True):
            copies = [moved(weights[f"layers.{n}.{suffix}"], suffix, model, n, at) for n in layers]
            grown[f"layers.{at}.{suffix}"] = torch.einsum("s,s...->...", row, torch.stack(copies))
    return grown


def _layers_of(weights: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Return the layers that have each tensor of a layer, by its name within one."""
    found: dict[str, list[int]] = defaultdict(list)
    for name in weights:
        if name.startswith("layers."):
            _, layer, suffix = name.split(".", 2)
            found[suffix].append(int(layer))
    return dict(found)


def _check(given: Matrices, expected: Matrices) -> None:
    """Raise InputError where the matrices are not those that the growth takes."""
    for name in [*expected, *given]:
        shapes = [tuple(m[name].shape) if name in m else None for m in (given, expected)]
        if shapes[0] != shapes[1]:
            found, wanted = ("missing" if shape is None else shape for shape in shapes)
            if shapes[1] is None:
                raise InputError(
                    f"{name} {found} is not a matrix of this growth, which has "
                    f"{', '.join(expected)}; remove it"
                )
            raise InputError(f"{name} is {found}, and this growth takes {wanted}; change it")
