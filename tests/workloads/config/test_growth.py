"""What is asked of a growth and does not fit the base: one line, with the nearest that works."""

from typing import Any

import pytest

from tests.workloads.grown import LLAMA, base_of, plan_of
from workloads.config.growth import plan_growth
from workloads.config.growth_options import GrowthOptions
from workloads.config.model import FFNConfig, ModelConfig, layer_ffns
from workloads.errors import Misfit

LOWRANK = {"kind": "lowrank", "rank": 3}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"operator": "stack", "layer_map": [0, 1, 2]}, "names layer 2, .* 0 to 1; .* is 1"),
        ({"operator": "stack", "layer_map": [0, -1, 1]}, "0,-1,1 names layer -1, .*nearest is 0"),
        (
            {"operator": "stack", "layer_map": [0, 1]},
            "0,1 has 2 layers, not more .* base's 2; .* 3",
        ),
        ({"operator": "stack", "layers": 1}, "layers 1 is not more than the base's 2; .* is 3"),
        ({"operator": "stack", "layers": 0}, "layers 0 is not more than the base's 2; .* is 3"),
        ({"operator": "stack", "layers": 4, "layer_map": [0, 1, 1]}, "layers is 4; give layers 3"),
        ({"operator": "stack", "width": 32}, "width 32 does not apply .* stack; .* split or zero"),
        ({"operator": "stack"}, "nothing is asked to grow; give layers$"),
        ({"operator": "zero"}, "nothing is asked to grow; give layers or width"),
        ({"operator": "zero", "layer_map": [1, 0, 0]}, "does not keep .* order, .* is 0,0,1"),
        ({"operator": "zero", "layer_map": [0, 0, 0]}, "does not keep .* order, .* is 0,0,1"),
        ({"operator": "random", "layer_map": [0, 1, 1]}, "layer_map .* does not apply"),
        ({"operator": "split", "layers": 4}, "layers 4 does not apply to operator split"),
        ({"operator": "split", "width": 24}, "width 24 is no multiple of .* 16, .* split .* 32"),
        ({"operator": "split", "width": 41}, "width 41 is no multiple of .* 16, .* is 48"),
        ({"operator": "split", "width": 16}, "width 16 is not above .* 16; the nearest .* is 32"),
        ({"operator": "zero", "width": 8}, "width 8 is not above .* 16; the nearest .* is 20"),
        ({"operator": "zero", "width": 18}, "num_heads 4.5, .*whole, .* nearest .* is 20"),
        ({"operator": "split", "width": 32, "mask_steps": 9}, "mask_steps 9 does not apply"),
        ({"operator": "zero", "width": 32, "alpha": 0.5}, "alpha 0.5 does not apply .* use split"),
        ({"operator": "stack", "layer_map": [0, 1, 1], "interleaved": True}, "interleaved says"),
        ({"operator": "zero", "width": 32, "interleaved": True}, "interleaved says"),
    ],
)
def test_what_does_not_fit_is_named_with_the_nearest_that_works(
    asked: dict[str, Any], expected: str
) -> None:
    with pytest.raises(Misfit, match=expected):
        plan_growth(base_of(), GrowthOptions.model_validate(asked))


def test_the_ffn_kind_decides_too() -> None:
    shuffled = base_of(ffn={"kind": "blockshuffle", "nblocks": 4})
    with pytest.raises(Misfit, match=r"24 is no multiple .* kind blockshuffle needs; .* is 32"):
        plan_of(shuffled, operator="zero", width=24)
    blocks = base_of(ffn={"kind": "blockdense", "rank": 4, "nblocks": 2})
    with pytest.raises(Misfit, match=r"width 20 makes rank 5\b|nblocks 2.5.* nearest .* is 24"):
        plan_of(blocks, operator="zero", width=20)
    with pytest.raises(Misfit, match=r"num_kv_heads 2.5, .* nearest that works is 24"):
        plan_of(base_of(num_kv_heads=2), operator="zero", width=20)


def test_a_base_whose_only_layer_is_the_dense_one_needs_a_map() -> None:
    one = base_of(num_layers=1, ffn=LOWRANK)
    with pytest.raises(Misfit, match="give layer_map 0,0,0 for dense ones, or a base of 2"):
        plan_of(one, operator="stack", layers=3)
    grown = plan_of(one, operator="stack", layer_map=[0, 0, 0]).model
    assert all(ffn.is_dense for ffn in layer_ffns(grown))
    everywhere = base_of(num_layers=1, ffn=LOWRANK | {"keep_first_dense": False})
    assert plan_of(everywhere, operator="stack", layers=3).layer_map == (0, 0, 0)


def test_a_guided_model_does_not_grow() -> None:
    guided = base_of(ffn=LOWRANK, guide={"ratio": 0.5})
    with pytest.raises(Misfit, match="a model with a guide does not grow; drop the guide"):
        plan_of(guided, operator="stack", layers=4)


def test_sizes_grow_as_the_kind_declares() -> None:
    for ffn, sizes in (
        (LOWRANK, {"rank": 3}),
        ({"kind": "blockdense", "rank": 4, "nblocks": 2}, {"rank": 8, "nblocks": 4}),
        ({"kind": "blockshuffle", "nblocks": 4}, {"nblocks": 4}),
    ):
        plan = plan_of(base_of(ffn=ffn, **LLAMA), operator="split", width=32)
        assert plan.model.ffn.sizes == sizes
        assert plan.widens and not plan.deepens and plan.layer_map == (0, 1)
        assert plan.model.norm_eps == plan.base.norm_eps == 1e-5


def test_the_shape_of_a_grown_model_survives_its_file() -> None:
    plan = plan_of(base_of(ffn=LOWRANK), operator="zero", layer_map=[0, 0, 1, 0], width=32)
    assert ModelConfig.model_validate_json(plan.model.model_dump_json()) == plan.model
    assert plan.model.ffn.dense_layers == (1, 3)
    assert FFNConfig.model_validate(plan.model.ffn.model_dump()) == plan.model.ffn
