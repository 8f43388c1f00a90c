"""The step of an optimizer of our own, with the closure that torch's optimizers accept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import overload

import torch
from torch.optim.optimizer import Optimizer


class ClosureStep(Optimizer):
    """An optimizer that takes its steps in `take_step`."""

    @abstractmethod
    def take_step(self) -> None:
        """Take one step along the gradients at hand."""

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step along the gradients at hand. Return what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.take_step()
        return loss
