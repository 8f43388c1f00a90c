"""Every new parameter moves within the number of AdamW steps that its operator states."""

from typing import Any

import pytest
import torch

from tests.workloads.grown import FFNS, LLAMA, base_of, built, grown_by, weights_of
from workloads.nn.growth.random import Random, add_masks

G = 3
ASKED: list[dict[str, Any]] = [
    {"operator": "stack", "layers": 4},
    {"operator": "split", "width": 32},
    {"operator": "zero", "layers": 4},
    {"operator": "zero", "width": 32},
    {"operator": "random", "layers": 4, "mask_steps": G},
    {"operator": "random", "width": 32, "mask_steps": G},
    {"operator": "learn", "layers": 4, "width": 32},
]
STEPS = {
    "stack layers": {"copied layers": 1},
    "split width": {"copied features": 1},
    "zero layers": {"ends of new blocks": 1, "other weights of new blocks": 2},
    "zero width": {"weights that are zero": 1, "other new weights": 2},
    "random layers": {"new layers": 2},
    "random width": {
        "new features of the FFN": 3,
        "new features of the residual stream": G + 2,
        "new features of the heads": 2 * G + 2,
    },
    "learn layers": {"all parameters": 1},
}


def first_moves(asked: dict[str, Any], ffn: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The step in which each entry of each parameter first moved."""
    operator, grown = grown_by(built(base_of(ffn=ffn, **options)), **asked)
    assert (
        operator.moves_after()
        == STEPS[" ".join([*asked][:2]).replace("operator", asked["operator"])]
    )
    masks = add_masks(grown, operator.plan) if isinstance(operator, Random) else None
    start = {name: tensor.clone() for name, tensor in weights_of(grown).items()}
    first = {name: torch.full(tensor.shape, 99) for name, tensor in start.items()}
    optimizer = torch.optim.AdamW(grown.parameters(), lr=1e-3, weight_decay=0.0)
    last = max(operator.moves_after().values())
    for step in range(1, last + 1):
        if masks:
            masks.set(step - 1)
        tokens = torch.stack([torch.randperm(11) for _ in range(8)])  # every token's row is read
        grown(tokens, tokens.roll(-1, 1)).backward()
        optimizer.step()
        optimizer.zero_grad()
        for name, tensor in weights_of(grown).items():
            first[name][(tensor != start[name]) & (first[name] == 99)] = step
    return first


@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("asked", ASKED, ids=lambda a: " ".join(map(str, a.values())))
def test_all_have_moved_by_then(asked: dict[str, Any], ffn: dict[str, Any]) -> None:
    options: list[dict[str, Any]] = [{}, LLAMA | {"tie_embeddings": False, "num_kv_heads": 2}]
    for those in options:
        first = first_moves(asked, ffn, **those)
        late = {name: int(steps.max()) for name, steps in first.items() if steps.max() == 99}
        assert not late


def test_what_is_zero_moves_first_and_masked_features_wait() -> None:
    first = first_moves({"operator": "zero", "layers": 4}, {})
    assert first["layers.1.attention.o_linear.weight"].max() == 1
    assert first["layers.1.mlp.fc1.weight"].min() == 2
    first = first_moves({"operator": "random", "width": 32, "mask_steps": G}, {}, **LLAMA)
    new_stream, new_heads = first["wte.weight"][:, 16:], first["layers.0.attention.o_linear.weight"]
    assert new_stream.min() == new_stream.max() == G + 2
    assert new_heads[:16, 16:].min() == new_heads[:16, 16:].max() == 2 * G + 2
    assert first["layers.0.mlp.fc2.weight"][:16, 24:].max() == 2
