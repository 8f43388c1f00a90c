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

from workloads.config.growth import GrowthPlan
from workloads.errors import InputError
from workloads.nn.growth.operator import Operator, Trace, scaled_rows
from workloads.nn.growth.widening import Part, Weights, spaces, widened
from workloads.nn.outline import outline

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
        """Return the module that trains the matrices."""
        return LearnedGrowth(self.plan, base, self.start(base), self._shapes(base))

    def _shapes(self, weights: Mapping[str, Tensor]) -> Weights:
        """Return weights of the base in the new width without values."""
        if not self.plan.widens:
            return {}
        norm_biases = "ln_f.bias" in weights
        return dict(outline(self.plan.wide, False, norm_biases).named_parameters())


class LearnedGrowth(nn.Module):
    """The matrices of a growth while they are trained, beside the base, which is frozen."""

    def __init__(
        self, plan: GrowthPlan, base: Mapping[str, Tensor], start: Matrices, shapes: Weights
    ) -> None:
        super().__init__()
        self.plan, self.shapes = plan, shapes
        self.base = _parameters(base).requires_grad_(False)
        self.matrices = _parameters(start)

    def weights(self) -> Weights:
        """Return the weights of the grown model; differentiable."""
        return multiplied_out(self.plan, _named(self.base), _named(self.matrices), self.shapes)


def _parameters(tensors: Mapping[str, Tensor]) -> nn.ParameterDict:
    """Return the tensors as parameters of a module; names of parameters have no dots."""
    named = {name.replace(".", "-"): nn.Parameter(tensor) for name, tensor in tensors.items()}
    return nn.ParameterDict(named)


def _named(parameters: nn.ParameterDict) -> Weights:
    return {name.replace("-", "."): parameter for name, parameter in parameters.items()}


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
        # What the structure does not hold is dropped where the weights are taken from the matrix.
        return _expanded(_expanded(old, out).T, into).T

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
    grown = {name: t for name, t in weights.items() if not name.startswith("layers.")}
    for suffix, layers in _layers_of(weights).items():
        targets = [at for at, layer in enumerate(plan.layer_map) if layer in layers]
        base = torch.stack([weights[f"layers.{layer}.{suffix}"] for layer in layers])
        sums = _sums(plan, suffix, matrices[f"depth.{suffix}"], base, targets, layers).unbind()
        grown |= {f"layers.{at}.{suffix}": own for at, own in zip(targets, sums, strict=True)}
    return grown


def _sums(
    plan: GrowthPlan,
    suffix: str,
    matrix: Tensor,
    base: Tensor,
    targets: Sequence[int],
    layers: Sequence[int],
) -> Tensor:
    """Return a tensor of the grown layers `targets`, given that of the base's `layers`, each summed
    by a row of the matrix."""
    scaled = scaled_rows(suffix, plan.model)
    if not scaled:
        return (matrix @ base.flatten(1)).unflatten(1, base.shape[1:])
    # What a copy of a layer's queries would be in each place differs by the scale of its scores.
    ratios = [[(at + 1) / (layer + 1) for layer in layers] for at in targets]
    queries, others = base.split([scaled, base.shape[1] - scaled], 1)
    sums = (
        (rows @ part.flatten(1)).unflatten(1, part.shape[1:])
        for rows, part in ((matrix * matrix.new_tensor(ratios), queries), (matrix, others))
    )
    return torch.cat([*sums], 1)


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
