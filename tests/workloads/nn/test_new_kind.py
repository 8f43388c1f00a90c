"""A kind that is added as one row and one class: with a size of its own name, and no operation."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from pydantic import PositiveInt, ValidationError, create_model
from torch import Tensor, nn
from torch.nn import functional as F

from tests.workloads.definition import config
from workloads.config.ffn_kinds import FFN_KINDS, SIZES, FFNKind, Size, with_sizes
from workloads.config.fingerprint import identity
from workloads.config.growth import plan_growth
from workloads.config.growth_options import GrowthOptions
from workloads.config.model import FFNConfig, ModelConfig
from workloads.config.run import RunConfig
from workloads.cost import flops, memory
from workloads.errors import Misfit
from workloads.inference.crossover import Setting, premerge
from workloads.nn.ffn import projection_class
from workloads.nn.growth.grow import grow
from workloads.nn.outline import filled, outline
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import add_guides, guided_projections
from workloads.nn.transformer import Transformer
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Recipe
from workloads.recipes.variant import FFNChoice

ORDER = Size("o", "Diagonals of the matrix.", within_sides=True, divides=("hidden_dim",))


class BandProjection(Projection):
    """y = W x + b, where W has `order` diagonals that wrap around."""

    def create_weights(self, n: int, m: int, sizes: Mapping[str, int]) -> None:
        self.bands = nn.Parameter(torch.randn(sizes["order"], m))
        self.n = n

    def product(self, x: Tensor) -> Tensor:
        places = torch.arange(self.bands.shape[1])
        shifted = [x[..., (places + k) % self.n] for k in range(len(self.bands))]
        y = sum(band * part for band, part in zip(self.bands, shifted, strict=True))
        return y if self.bias is None else y + self.bias  # type: ignore[return-value]  # order >= 1

    def dense_weight(self) -> Tensor:
        return (self.product(torch.eye(self.n)) - (0 if self.bias is None else self.bias)).T


ROW = FFNKind(
    projection=f"{__name__}:BandProjection",
    weights=lambda n, m, sizes: m * sizes["order"],
    inner=lambda n, m, sizes: 0,
    merge=lambda n, m, sizes: m * sizes["order"],
    sizes={"order": ORDER},
    fraction_size="order",
)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FFN_KINDS, "band", ROW)
    monkeypatch.setitem(SIZES, "order", ORDER)
    monkeypatch.setattr("workloads.recipes.variant.FFNConfig", grown(FFNConfig))


@cache
def grown(model: type[Any]) -> type[Any]:
    """The model as it would be had the row been there when it was defined."""
    return with_sizes(PositiveInt)(model)


def band(**sizes: int) -> FFNConfig:
    return grown(FFNConfig)(kind="band", **sizes)


def test_its_size_is_a_field_of_every_model_that_has_sizes() -> None:
    ffn = band(order=3)
    assert ffn.sizes == {"order": 3} and ffn.size_labels == ["o3"]
    assert grown(FFNChoice)(kind="band", order=3).arm_name() == "band o3"
    schema = grown(FFNChoice).model_json_schema()["properties"]["order"]
    assert schema["description"] == ORDER.description
    assert grown(FFNConfig).model_validate_json(ffn.model_dump_json()) == ffn


def test_its_size_is_checked_by_what_the_row_declares() -> None:
    shape = config().model_dump(exclude={"ffn"})
    with pytest.raises(ValidationError, match="kind band needs order; add it"):
        band()
    with pytest.raises(ValidationError, match="order does not apply to kind dense"):
        grown(FFNConfig)(order=3)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        grown(FFNConfig)(kind="band", order=3, ordre=3)
    with pytest.raises(ValidationError, match="order 7 does not divide hidden_dim"):
        ModelConfig(**shape, ffn=band(order=7))
    with pytest.raises(ValidationError, match="order 5000 exceeds the projection's smaller side"):
        ModelConfig(**shape, ffn=band(order=5000))


def test_it_changes_no_dump_and_no_fingerprint_of_other_kinds() -> None:
    lowrank = {"kind": "lowrank", "rank": 3}
    assert grown(FFNConfig)(**lowrank).model_dump_json() == FFNConfig(**lowrank).model_dump_json()
    run = Recipe(preset="pico").resolve()
    model = create_model("Model", __base__=ModelConfig, ffn=(grown(FFNConfig), ...))
    grown_run = create_model("Run", __base__=RunConfig, model=(model, ...))
    same = grown_run.model_validate(run.model_dump())
    assert identity(same, "abc") == identity(run, "abc")
    tree = run.model_dump()
    tree["model"]["ffn"] = {"kind": "band", "order": 4}
    found = identity(grown_run.model_validate(tree), "abc")["model"]["ffn"]
    assert found == run.model_dump()["model"]["ffn"] | {"kind": "band", "order": 4}


def test_a_fraction_chooses_its_size() -> None:
    model = PRESETS["micro"].model
    ffn = grown(FFNChoice)(kind="band", fraction=0.5)
    found = ffn.resolve(model)
    dense = sum(n * m for n, m in model.ffn_shapes)
    outputs = sum(m for _, m in model.ffn_shapes)
    exact = 0.5 * dense / outputs
    assert found.sizes["order"] % 4 == 0 and abs(found.sizes["order"] - exact) <= 2


def test_its_cost_is_planned() -> None:
    run = Recipe(preset="pico").resolve()
    model = run.model.model_copy(update={"ffn": band(order=4)})
    outputs = sum(m for _, m in model.ffn_shapes)
    assert flops.ffn_weights(model, model.ffn) == 4 * outputs
    planned = run.model_copy(update={"model": model})
    assert memory.peak_memory_bytes(planned) < memory.peak_memory_bytes(run)


def test_it_is_guided_and_merged_without_an_operation_of_the_kernels() -> None:
    model = config(ffn=band(order=3), guide={"ratio": 0.5})
    transformer = Transformer(model).double()
    x = torch.randn(2, 3, model.hidden_dim, dtype=torch.float64)
    add_guides(transformer, model.guide)  # type: ignore[arg-type]  # given above
    projection = guided_projections(transformer)[0]
    assert isinstance(projection, BandProjection) and projection.guide is not None
    nn.init.normal_(projection.guide)
    projection.guide_weight.fill_(0.25)
    expected = 0.25 * F.linear(x, projection.guide) + 0.75 * projection.product(x)
    expected += 0.25 * (0 if projection.bias is None else projection.bias)
    torch.testing.assert_close(projection(x), expected)

    transformer.eval()
    tokens = torch.randint(model.vocab_size, (1, 4))
    with torch.no_grad():
        before = transformer(tokens)
        premerge(transformer, crossover_tokens=8)
        assert projection.merged is not None
        torch.testing.assert_close(transformer(tokens), before)


def test_crossovers_of_its_sizes_are_told_apart() -> None:
    at = (torch.device("cpu"), torch.float32)
    first, other = (grown(Setting).of(config(ffn=band(order=order)), *at) for order in (3, 1))
    assert first != other and first.sizes == {"order": 3}


def test_a_kind_that_is_not_linear_is_not_guided_and_not_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        FFN_KINDS, "band", FFNKind(ROW.projection, ROW.weights, ROW.inner, sizes={"order": ORDER})
    )
    with pytest.raises(ValidationError, match="guide needs layers with a structured FFN"):
        config(ffn=band(order=3), guide={"ratio": 0.5})
    projection = projection_class("band")(6, 9, band(order=3)).eval()
    projection.premerge(8)
    assert projection.merged is None and projection.crossover_tokens == 0


def test_it_is_stacked_and_says_that_it_gives_no_matrices_for_other_growth() -> None:
    model = Transformer(config(ffn=band(order=3))).double()
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def grown(**options: Any) -> Transformer:
        plan = plan_growth(model.config, GrowthOptions(operator=options.pop("operator"), **options))
        tensors, record = grow(plan, weights)
        assert record.params == sum(tensor.numel() for tensor in tensors.values())
        return filled(outline(plan.model, False, False), tensors, {}, torch.float64)

    stacked = grown(operator="stack", layers=4)
    again = stacked.get_parameter("layers.3.mlp.fc1.bands")
    assert torch.equal(again, model.get_parameter("layers.1.mlp.fc1.bands"))
    for options in ({"operator": "zero", "layers": 4}, {"operator": "split", "width": 36}):
        with pytest.raises(Misfit, match="BandProjection does not give its weights as matrices"):
            grown(**options)
