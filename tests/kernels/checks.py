"""Inputs of an operation, its results in float64, memory layouts, and the factors of a test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
Dense = Callable[[Tensor, Tensor], Tensor]
NAMES = ("x", "v", "u", "bias")


def one_at_a_time(*factors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the cases that vary one factor at a time, and one joint case.

    The base case has the first value of each factor, the joint case the last value of each.
    """
    base = tuple(values[0] for values in factors)
    varied = [
        (*base[:place], value, *base[place + 1 :])
        for place, values in enumerate(factors)
        for value in values[1:]
    ]
    joint = tuple(values[-1] for values in factors)
    return list(dict.fromkeys([base, *varied, joint]))


@dataclass(frozen=True)
class Inputs:
    """Tensors of one call; `bias` may be absent."""

    x: Tensor
    v: Tensor
    u: Tensor
    bias: Tensor | None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Inputs":
        """Copy the tensors as leaves that need gradients, in the same layouts."""
        tensors = (None if t is None else _leaf(t, device, dtype) for t in self.tensors)
        return Inputs(*tensors)  # type: ignore[arg-type]  # only the bias may be None

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        return self.x, self.v, self.u, self.bias


def _leaf(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(device, dtype, copy=True).requires_grad_()


def gradients(inputs: Inputs, y: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """Return y and the gradients by all inputs, by name, in float64 on the CPU."""
    y.backward(direction.to(y))
    found = {"y": y}
    for name, tensor in zip(NAMES, inputs.tensors, strict=True):
        if tensor is not None:
            assert tensor.grad is not None and tensor.grad.dtype == tensor.dtype, name
            found[name] = tensor.grad
    return {name: tensor.detach().cpu().double() for name, tensor in found.items()}


def expected(dense: Dense, inputs: Inputs, direction: Tensor) -> dict[str, Tensor]:
    """Return what `gradients` does, computed in float64 with the operation's dense matrix."""
    exact = inputs.to(torch.device("cpu"), torch.float64)
    y = exact.x @ dense(exact.v, exact.u).T
    return gradients(exact, y if exact.bias is None else y + exact.bias, direction)


def errors(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """Return norm-relative errors by name; shapes must agree."""
    assert found.keys() == wanted.keys()
    result = {}
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        result[name] = float((found[name] - value).norm() / value.norm().clamp(min=1e-300))
    return result


# Layouts of x: each gives the same numbers with other strides.


def contiguous(x: Tensor) -> Tensor:
    return x


def feature_major(x: Tensor) -> Tensor:
    """Store features as rows, as `block_shuffle` leaves its wide side."""
    return x.reshape(-1, x.shape[-1]).T.contiguous().T.view(x.shape)


def gapped(x: Tensor) -> Tensor:
    """Store x as every second feature of a wider tensor, with gaps in rows and columns."""
    wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"), dtype=x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def transposed_batch(x: Tensor) -> Tensor:
    """Exchange batch and sequence in memory, so that no view has all tokens in one dimension."""
    return x.transpose(0, 1).contiguous().transpose(0, 1)


LAYOUTS = [contiguous, feature_major, gapped, transposed_batch]
