"""What the operations have no second derivatives for is an error, and never a silent zero."""

import torch


def refuse_second_derivatives() -> None:
    """RuntimeError where the backward pass that calls this is to be differentiated itself."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "this operation's backward pass is not open to automatic differentiation; for second "
            "derivatives set KERNELS=reference"
        )
