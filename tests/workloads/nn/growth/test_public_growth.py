"""Growth by the public code of the stacking paper: equal weights, bit for bit, and equal logits."""

import hashlib
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.workloads.grown import plan_of, weights_of
from workloads.interop import structured_ffn
from workloads.nn.growth.grow import grow
from workloads.nn.outline import filled, outline
from workloads.nn.transformer import Transformer
from workloads.recipes.recipe import load_run

PUBLIC = Path(__file__).parent / "public"
LOGITS = np.load(PUBLIC / "logits.npz")
SHA256 = json.loads((PUBLIC / "sha256.json").read_text())
HEAD_DIM = 8
ASKED = {
    "stack_x2": {"operator": "stack", "layers": 6},
    "split_width_x2_logical": {"operator": "split", "width": 64},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    out = tmp_path_factory.mktemp("public") / "base.safetensors"
    shape = load_run(PUBLIC / "base.yaml").model
    return structured_ffn.import_reference(PUBLIC / "base_structuredffn.pth", shape, out)


def as_public(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights by the public names, with queries, keys and values packed head by head."""
    found = {}
    for name, tensor in weights.items():
        public = name.replace("layers.", "h.").replace("ln1", "norm_1").replace("ln2", "norm_2")
        public = public if name.startswith("lm_head") else f"transformer.{public}"
        if "qkv_linear" in name:
            parts = tensor.unflatten(0, (3, -1, HEAD_DIM)).transpose(0, 1)
            found[public.replace("attention.qkv_linear", "attn.attn")] = parts.flatten(0, 2)
        elif "o_linear" in name:
            found[public.replace("attention.o_linear", "attn.proj")] = tensor
        elif "fc1" in name:
            for number, half in enumerate(tensor.chunk(2), start=1):
                found[public.replace("fc1", f"swiglu.w{number}")] = half
        else:
            found[public.replace("fc2", "swiglu.w3")] = tensor
    return found


@pytest.mark.parametrize("case", sorted(ASKED))
def test_weights_and_logits_are_those_of_the_public_code(base: Transformer, case: str) -> None:
    weights, record = grow(plan_of(base.config, **ASKED[case]), weights_of(base))
    ours = {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in as_public(weights).items()
    }
    assert ours == SHA256[case]
    assert sum(tensor.numel() for tensor in weights.values()) == record.params

    tokens = torch.from_numpy(LOGITS["tokens"])
    shape = plan_of(base.config, **ASKED[case]).model
    grown = filled(outline(shape, False, False), weights, {}).double()
    with torch.no_grad():
        moved = (deepcopy(base).double()(tokens) - torch.from_numpy(LOGITS["base"])).abs().max()
        error = (grown(tokens) - torch.from_numpy(LOGITS[case])).abs().max()
    # Rotary angles are kept in fp32 here.
    assert error < 1e-6 and moved < 1e-6
    assert record.preserves == (case != "stack_x2")
    public = np.abs(LOGITS[case] - LOGITS["base"]).max()
    assert public > 1 if case == "stack_x2" else public < 1e-12
