"""Operations that write into memory of their own: registered with torch on CUDA, direct on CPUs.

Compiled code calls a registered operation as a whole and knows its results by their fakes, so it
keeps kernels whose inside no compiler could follow. On a CPU an operation is what runs inside it,
which counters and fake tensors see; compiled code takes definitions there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DEVICES = ("cuda",)  # Where operations go by their registered names.


class Opaque:
    """A function of tensors, the first argument one of them, without a gradient.

    `compute` is typed as `torch.library.custom_op` asks; `fake` takes the same arguments and makes
    results of the same shapes, dtypes and strides, whatever is in them.
    """

    def __init__(self, name: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> None:
        self._compute = compute
        self.op = torch.library.custom_op(f"kernels::{name}", compute, mutates_args=())
        self.op.register_fake(fake)

    def __call__(self, *arguments: Any) -> Any:
        return (self.op if _by_name(arguments[0]) else self._compute)(*arguments)


class Differentiable(Opaque):
    """With a gradient, once: of the result, or of the first of several.

    `save(ctx, inputs, output)` keeps what `backward(ctx, gradient)` needs; this returns a gradient
    or None for each argument.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[..., Any],
        fake: Callable[..., Any],
        save: Callable[[Any, tuple[Any, ...], Any], None],
        backward: Callable[[Any, Tensor], tuple[Tensor | None, ...]],
    ) -> None:
        super().__init__(name, compute, fake)

        def set_up(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, tuple):
                ctx.mark_non_differentiable(*output[1:])
            ctx.set_materialize_grads(False)  # Zeros in place of the gradients of the others.
            save(ctx, inputs, output)

        def once(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
            _refuse_second_derivatives()
            if grads[0] is None:
                return (None,) * len(ctx.needs_input_grad)
            return backward(ctx, grads[0])

        self.op.register_autograd(once, setup_context=set_up)
        parts = {"forward": compute, "setup_context": set_up, "backward": once}
        self._function: Any = type(
            name, (torch.autograd.Function,), {k: staticmethod(part) for k, part in parts.items()}
        )

    def __call__(self, *arguments: Any) -> Any:
        return (self.op if _by_name(arguments[0]) else self._function.apply)(*arguments)


def left_to_compiler(tensor: Tensor) -> bool:
    """Whether code that is being compiled is to take a definition, and fuse what it sees of it."""
    return torch.compiler.is_compiling() and not _by_name(tensor)


def _by_name(tensor: Tensor) -> bool:
    return tensor.device.type in DEVICES


def _refuse_second_derivatives() -> None:
    """What the operations have no second derivatives for is an error, and never a silent zero."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "this operation's backward pass is not open to automatic differentiation; for second "
            "derivatives set KERNELS=reference"
        )
