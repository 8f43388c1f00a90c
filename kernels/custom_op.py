"""Torch custom operators for functions that write into memory that they allocate themselves.

On CUDA such a function is registered with torch as a custom operator. `torch.compile` then calls
it as a whole and learns the shapes of its results from a fake implementation, so that it need not
trace code, such as a Triton launch, that it could not follow. On a CPU the function is called
directly, so that FLOP counters and fake tensors see the operations inside it, and `torch.compile`
traces the plain reference instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DEVICES = ("cuda",)  # Where functions are called as custom operators.


class CustomOp:
    """A function of tensors without a gradient, whose first argument is a tensor.

    Args:
        name: name of the operator in torch's namespace `kernels`.
        compute: the function, typed as `torch.library.custom_op` requires.
        fake: a function of the same arguments that allocates results of the same shapes, dtypes
            and strides. Their contents do not matter.
    """

    def __init__(self, name: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> None:
        self._compute = compute
        self.op = torch.library.custom_op(f"kernels::{name}", compute, mutates_args=())
        self.op.register_fake(fake)

    def __call__(self, *arguments: Any) -> Any:
        return (self.op if _runs_as_custom_op(arguments[0]) else self._compute)(*arguments)


class DifferentiableOp(CustomOp):
    """A custom operator with first derivatives of its result, or of the first of its results.

    Second derivatives raise RuntimeError.

    Args:
        save: `save(ctx, inputs, output)` stores in `ctx` what the backward pass needs.
        backward: `backward(ctx, gradient)` returns a gradient or None for each argument.
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

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, tuple):
                ctx.mark_non_differentiable(*output[1:])
            # Otherwise torch allocates zeros as the gradients of the other results.
            ctx.set_materialize_grads(False)
            save(ctx, inputs, output)

        def backward_once(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
            _refuse_second_derivatives()
            if grads[0] is None:
                return (None,) * len(ctx.needs_input_grad)
            return backward(ctx, grads[0])

        def forward(ctx: Any, *inputs: Any) -> Any:
            # One method: a Function with a `setup_context` of its own binds its arguments by
            # `inspect.signature` in every call, which takes longer than a small product.
            output = compute(*inputs)
            setup_context(ctx, inputs, output)
            return output

        self.op.register_autograd(backward_once, setup_context=setup_context)
        parts = {"forward": forward, "backward": backward_once}
        self._function: Any = type(
            name, (torch.autograd.Function,), {k: staticmethod(part) for k, part in parts.items()}
        )

    def __call__(self, *arguments: Any) -> Any:
        return (self.op if _runs_as_custom_op(arguments[0]) else self._function.apply)(*arguments)


def left_to_compiler(tensor: Tensor) -> bool:
    """Return whether `torch.compile` is tracing and should trace and fuse the plain reference."""
    return torch.compiler.is_compiling() and not _runs_as_custom_op(tensor)


def _runs_as_custom_op(tensor: Tensor) -> bool:
    return tensor.device.type in DEVICES


def _refuse_second_derivatives() -> None:
    """Raise RuntimeError in a backward pass under `create_graph`, which would give silent zeros."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "this operation's backward pass is not open to automatic differentiation; for second "
            "derivatives set KERNELS=reference"
        )
