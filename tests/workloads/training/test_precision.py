"""Precision under bf16 autocast: norms and the loss in fp32, inner activations in bf16."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.workloads.definition import config, reference_norm, tokens_of
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_norms_work_in_fp32_under_bf16_autocast(norm: str, bias: bool) -> None:
    shape = config(norm=norm, bias=bias, ffn={"kind": "blockshuffle", "nblocks": 3})
    model = Transformer(shape)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    seen: list[tuple[str, Tensor, Tensor]] = []
    for name, module in model.named_modules():
        if name.split(".")[-1] in ("ln1", "ln2", "ln_f"):
            module.register_forward_hook(
                lambda _, inputs, output, name=name: seen.append((name, inputs[0], output))
            )
    tokens = tokens_of(shape)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens)
        assert len(seen) == 7
        loss = model(tokens, tokens)
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    for name, x, y in seen:
        assert x.dtype == torch.float32 and y.dtype == torch.float32, name
        part = {n: nn.Parameter(p.detach().double()) for n, p in model.named_parameters()}
        exact = reference_norm(shape, part, name, x.detach().double())
        torch.testing.assert_close(y.detach().double(), exact.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [
        {"kind": "lowrank", "rank": 6},
        {"kind": "blockdense", "rank": 6, "nblocks": 3},
        {"kind": "blockshuffle", "nblocks": 3},
    ],
    ids=lambda sizes: sizes["kind"],
)
def test_projections_stay_in_bf16_under_autocast(sizes: dict[str, Any], guided: bool) -> None:
    """Inner activations are the largest tensors there are: in fp32 they would be twice as large."""
    options: dict[str, Any] = {"guide": {"ratio": 0.5}} if guided else {}
    shape = config(ffn=sizes | {"keep_first_dense": False}, num_layers=1, **options)
    model = Transformer(shape)
    if shape.guide is not None:
        add_guides(model, shape.guide)
    with torch.autocast("cpu", torch.bfloat16):
        inner = model.get_submodule("layers.0.mlp.fc1")(torch.randn(2, 9, 18))
    assert inner.dtype == torch.bfloat16
