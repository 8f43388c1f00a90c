"""What Sophia-G declares: its options, its FLOPs, and when it estimates the Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from workloads.optim.config import Fraction, OptimizerConfig, OptimizerOptions, Trained, WithSampled

if TYPE_CHECKING:
    import torch


class SophiaGOptions(OptimizerOptions):
    """Sophia-G as a study file has it; the defaults are those of its authors' GPT-2 Small script.

    Every `hessian_interval` steps, from the first, the Hessian is estimated from the gradient of
    the loss on labels that the model draws itself for the batch of the step (the paper's
    algorithms 2 and 3). That gradient is clipped as the step's own is, as in the authors' script.
    """

    state_bytes_per_param: ClassVar[int] = 2 * 4  # Means of gradient and Hessian in fp32.

    kind: Literal["sophia_g"]
    """The optimizer."""
    betas: tuple[Fraction, Fraction] = (0.965, 0.99)
    """Decay of the means of gradients and of Hessians."""
    rho: PositiveFloat = 0.05
    """Scales the Hessian: a larger one clips fewer entries."""
    hessian_interval: PositiveInt = 10
    """Steps between two estimates of the Hessian."""
    hessian_tokens: PositiveInt | None = None
    """Tokens that the mean gradient of an estimate is taken to be of; left out, those of the run's
    step, as the estimate is defined."""
    weight_decay: NonNegativeFloat = 0.2
    """Decoupled weight decay, times the learning rate a step."""

    def build(
        self, groups: list[dict[str, Any]], tokens_per_step: int | None
    ) -> torch.optim.Optimizer:
        """Return the optimizer of these groups. Raises ValueError without any number of tokens."""
        from workloads.optim.sophia_g import SophiaG

        tokens = self.hessian_tokens or tokens_per_step
        return SophiaG(groups, betas=self.betas, rho=self.rho, tokens_per_step=tokens)

    def extra_step_flops(self, trained: Trained, tokens: int, pass_flops: int) -> int:
        """Return an estimate's share of one step: passes over the batch, and logits to draw
        labels from."""
        return (pass_flops + 2 * trained.head * tokens) // self.hessian_interval

    def before_step(
        self, optimizer: torch.optim.Optimizer, step: int, with_sampled: WithSampled
    ) -> None:
        """Estimate the Hessian where it is time; an estimate that is not finite is left out."""
        from workloads.optim.sophia_g import SophiaG

        assert isinstance(optimizer, SophiaG)
        if step % self.hessian_interval == 0:
            with_sampled(optimizer.update_hessian)


class SophiaGConfig(SophiaGOptions, OptimizerConfig):
    """Sophia-G of one run."""
