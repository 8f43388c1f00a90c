"""Self-guided training: shares, guides and draws by their definitions, and guided runs."""

import gc
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from tests.workloads.training import final_state, pico, rows_of, weights_of
from workloads.config import FFNConfig, GuideConfig, ModelConfig, RunConfig
from workloads.data.loader import Batch, BatchLoader, eval_batches
from workloads.data.shards import TokenDataset
from workloads.ffn import FeedForward, Projection
from workloads.model import Transformer, next_token_loss
from workloads.optim import build_optimizer
from workloads.record import Row, read_rows
from workloads.self_guided import add_guides, drop_guides, guide_share, set_guides
from workloads.train import train

pytestmark = pytest.mark.usefixtures("on_cpu")

# (parametrization, n, m): wider, narrower and square, odd sizes.
CASES: list[tuple[FFNConfig, int, int]] = [
    (FFNConfig(kind="lowrank", rank=3), 7, 11),
    (FFNConfig(kind="lowrank", rank=5), 11, 5),
    (FFNConfig(kind="blockdense", rank=6, nblocks=3), 9, 15),
    (FFNConfig(kind="blockdense", rank=5, nblocks=5), 15, 7),
    (FFNConfig(kind="blockshuffle", nblocks=3), 9, 15),
    (FFNConfig(kind="blockshuffle", nblocks=5), 15, 10),
    (FFNConfig(kind="blockshuffle", nblocks=3), 9, 9),
]


def case_name(case: object) -> str:
    return f"{case.kind}-{case.rank}-{case.nblocks}" if isinstance(case, FFNConfig) else str(case)


over_cases = pytest.mark.parametrize(("ffn", "n", "m"), CASES, ids=case_name)
STRUCTURES = [
    FFNConfig(kind="lowrank", rank=5),
    FFNConfig(kind="blockdense", rank=6, nblocks=3),
    FFNConfig(kind="blockshuffle", nblocks=3),
]
over_kinds = pytest.mark.parametrize("ffn", STRUCTURES, ids=lambda ffn: ffn.kind)


def build(ffn: FFNConfig, n: int, m: int, bias: bool = True) -> Projection:
    """In float64, with random weights."""
    projection = Projection.kinds[ffn.kind](n, m, ffn, bias).double()
    for parameter in projection.parameters():
        nn.init.normal_(parameter)
    return projection


def shape(ffn: FFNConfig, **changes: Any) -> ModelConfig:
    sizes = {
        "vocab_size": 29,
        "block_size": 13,
        "num_layers": 3,
        "hidden_dim": 18,
        "ffn_dim": 45,
        "num_heads": 3,
    }
    return ModelConfig.model_validate(sizes | {"ffn": ffn} | changes)


def guided_run(**guide: Any) -> RunConfig:
    """Ten steps, the first five of them guided, and the five more of `fixed_flops`."""
    changes = {key: guide.pop(key) for key in ("budget", "model", "ffn", "runtime") if key in guide}
    return pico(**{"budget": {"steps": 10}, "guide": {"ratio": 0.5} | guide} | changes)


def matrix(projection: Projection, permuted: bool = True) -> Tensor:
    """The projection's (m, n) matrix, entry by entry from its factors."""
    parts = {name: p.detach() for name, p in projection.named_parameters()}
    u, v = parts["u"], parts["v"]
    if v.ndim == 2:
        return u @ v
    blocks, rows, columns = v.shape
    inner = torch.zeros(blocks * rows, blocks * columns, dtype=v.dtype)
    for b in range(blocks):
        inner[b * rows : (b + 1) * rows, b * columns : (b + 1) * columns] = v[b]
    if u.ndim == 2:
        return u @ inner
    _, places, numbers = u.shape
    outer = torch.zeros(blocks * places, blocks * numbers, dtype=u.dtype)
    for b in range(blocks):
        for s in range(places):
            for r in range(numbers):
                if permuted:
                    outer[s * blocks + b, r * blocks + b] = u[b, s, r]
                else:
                    outer[b * places + s, b * numbers + r] = u[b, s, r]
    return outer @ inner


# The share


def test_the_share_falls_from_1_to_0_along_its_schedule() -> None:
    cosine, linear = GuideConfig(ratio=0.5), GuideConfig(ratio=0.5, schedule="linear")
    for steps in (1, 2, 7, 100):
        found = [guide_share(step, steps, cosine) for step in range(steps + 1)]
        angle = np.linspace(0, np.pi, steps + 1)
        np.testing.assert_allclose(found, (1 + np.cos(angle)) / 2, atol=1e-12)
        found = [guide_share(step, steps, linear) for step in range(steps + 1)]
        np.testing.assert_allclose(found, np.linspace(1, 0, steps + 1), atol=1e-12)
    for guide in (cosine, linear):
        assert guide_share(0, 7, guide) == 1.0
        assert guide_share(7, 7, guide) == guide_share(9, 7, guide) == 0.0


# The guide


@over_cases
def test_a_guide_starts_as_the_product(ffn: FFNConfig, n: int, m: int) -> None:
    projection = build(ffn, n, m)
    projection.add_guide("effective")
    assert projection.guide is not None and projection.guide.requires_grad
    assert projection.guide.is_contiguous()
    torch.testing.assert_close(projection.guide.detach(), matrix(projection))
    # It is a weight of its own: what becomes of it does not touch the factors, nor the reverse.
    with torch.no_grad():
        projection.guide.zero_()
    assert matrix(projection).abs().sum() > 0


@over_cases
def test_the_reference_guide_lacks_the_permutations_alone(ffn: FFNConfig, n: int, m: int) -> None:
    projection = build(ffn, n, m)
    projection.add_guide("reference")
    assert projection.guide is not None
    torch.testing.assert_close(projection.guide.detach(), matrix(projection, permuted=False))
    differs = not torch.allclose(projection.guide, matrix(projection))
    assert differs == (ffn.kind == "blockshuffle")


@pytest.mark.parametrize("training", [True, False])
@over_kinds
def test_step_0_computes_the_unguided_function(ffn: FFNConfig, training: bool) -> None:
    """Whatever the share: both paths compute the same."""
    config = shape(ffn, guide=GuideConfig(ratio=0.5))
    model = Transformer(config).double().train(training)
    tokens = torch.randint(29, (2, 13))
    before = model(tokens).detach()
    assert config.guide is not None
    add_guides(model, config.guide)
    for share in (1.0, 0.3, 0.0):
        for module in projections(model):
            module.guide_share.fill_(share)
        torch.testing.assert_close(model(tokens).detach(), before, rtol=1e-10, atol=1e-12)
    drop_guides(model)
    assert torch.equal(model(tokens), before)


def test_the_reference_guide_changes_the_function_of_blockshuffle() -> None:
    for ffn in STRUCTURES:
        guide = GuideConfig(ratio=0.5, init="reference")
        model = Transformer(shape(ffn, guide=guide)).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        tokens = torch.randint(29, (2, 13))
        before = model(tokens).detach()
        add_guides(model, guide)
        assert torch.allclose(model(tokens), before) == (ffn.kind != "blockshuffle")


@over_kinds
def test_structured_projections_are_guided_and_dense_ones_are_not(ffn: FFNConfig) -> None:
    for keep in (True, False):
        config = shape(ffn.model_copy(update={"keep_first_dense": keep}))
        model = Transformer(config)
        unguided = {name for name, _ in model.named_parameters()}
        add_guides(model, GuideConfig(ratio=0.5))
        added = {name for name, _ in model.named_parameters()} - unguided
        layers = range(1 if keep else 0, 3)
        assert added == {
            f"layers.{layer}.mlp.{side}.guide" for layer in layers for side in ("fc1", "fc2")
        }
        drop_guides(model)
        assert {name for name, _ in model.named_parameters()} == unguided


@pytest.mark.parametrize("share", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("bias", [True, False])
@over_cases
def test_a_guided_projection_is_the_mixture_and_its_gradients(
    ffn: FFNConfig, n: int, m: int, bias: bool, share: float
) -> None:
    projection = build(ffn, n, m, bias)
    projection.add_guide("effective")
    assert projection.guide is not None
    nn.init.normal_(projection.guide)  # Apart from the product, as training makes it.
    projection.guide_share.fill_(share)
    x = torch.randn(2, 3, n, dtype=torch.float64, requires_grad=True)
    y = projection(x)
    direction = torch.randn_like(y)
    y.backward(direction)

    # The mixture is linear in x with one matrix; factors' gradients through the chain rule, by
    # finite differences along random directions.
    guide, structured = projection.guide.detach(), matrix(projection)
    whole = share * guide + (1 - share) * structured
    added = projection.get_parameter("bias").detach() if bias else torch.zeros(m)
    flat_x, flat_direction = x.detach().reshape(-1, n), direction.reshape(-1, m)
    torch.testing.assert_close(y.detach().reshape(-1, m), flat_x @ whole.T + added)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.reshape(-1, n), flat_direction @ whole)
    outer = flat_direction.T @ flat_x
    assert projection.guide.grad is not None
    torch.testing.assert_close(projection.guide.grad, share * outer)
    if bias:
        torch.testing.assert_close(projection.get_parameter("bias").grad, flat_direction.sum(0))
    for name in ("u", "v"):
        factor = projection.get_parameter(name)
        along, step = torch.randn_like(factor), 1e-6
        values = []
        with torch.no_grad():
            for sign in (1, -2):
                factor += sign * step * along
                values.append(float(((1 - share) * matrix(projection) * outer).sum()))
            factor += step * along
        slope = (values[0] - values[1]) / (2 * step)
        assert factor.grad is not None
        assert float((factor.grad * along).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-7)


# Draws


def projections(model: nn.Module) -> list[Projection]:
    return [module for module in model.modules() if isinstance(module, Projection)]


def draws(config: RunConfig, steps: range) -> np.ndarray:
    """(steps, guided projections): which guides run, told by which factor a pass reads."""
    model = Transformer(config.model)
    assert config.model.guide is not None
    add_guides(model, config.model.guide)
    guided = [module for module in projections(model) if module.guide is not None]
    for module in guided:
        assert module.guide is not None
        nn.init.constant_(module.guide, math.inf)
    found = []
    for step in steps:
        set_guides(model, step, config)
        with torch.no_grad():
            ones = (module(torch.ones(1, _inputs(module))) for module in guided)
            found.append([not bool(y.isfinite().all()) for y in ones])
    return np.array(found)


def _inputs(module: Projection) -> int:
    assert module.guide is not None
    return module.guide.shape[1]


def many_steps(**changes: Any) -> RunConfig:
    config = pico(
        model={"num_layers": 3, "hidden_dim": 8, "ffn_dim": 12, "num_heads": 2},
        ffn={"kind": "lowrank", "rank": 4, "keep_first_dense": False},
        budget={"steps": 4000},
        guide={"ratio": 0.5, **changes.pop("guide", {})},
        **changes,
    )
    assert config.guided_steps == 2000
    return config


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_guide_runs_with_the_probability_of_its_share(
    schedule: Literal["cosine", "linear"],
) -> None:
    config = many_steps(guide={"schedule": schedule})
    assert config.model.guide is not None
    ran = draws(config, range(2000))
    assert ran.shape == (2000, 6)
    shares = [guide_share(step, 2000, config.model.guide) for step in range(2000)]
    # In ten stretches, and each projection by itself: within five standard deviations.
    for stretch in np.split(np.arange(2000), 10):
        expected = np.array(shares)[stretch].mean()
        deviation = math.sqrt(expected * (1 - expected) / ran[stretch].size)
        assert abs(ran[stretch].mean() - expected) < 5 * deviation + 1e-3
    np.testing.assert_allclose(ran.mean(axis=0), 0.5, atol=5 * 0.35 / math.sqrt(2000))
    assert ran[0].all()  # At a share of 1.


def test_draws_differ_between_projections_steps_and_seeds_and_repeat() -> None:
    config = many_steps()
    middle = range(900, 1100)  # A share of about a half.
    ran = draws(config, middle)
    for first in range(6):
        for second in range(first):
            assert 0.3 < (ran[:, first] != ran[:, second]).mean() < 0.7
    assert 0.3 < (ran[1:] != ran[:-1]).mean() < 0.7
    assert 0.3 < (draws(many_steps(seed=1), middle) != ran).mean() < 0.7
    # A function of seed and step: neither of what was drawn before nor of other generators.
    torch.manual_seed(77)
    np.random.seed(77)
    assert (draws(config, range(950, 1000)) == ran[50:100]).all()


def test_draws_are_the_same_on_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    config = many_steps()
    alone = draws(config, range(900, 950))
    for worker in (0, 3):
        monkeypatch.setattr("workloads.parallel.rank", lambda worker=worker: worker)
        monkeypatch.setattr("workloads.parallel.world_size", lambda: 4)
        assert (draws(config, range(900, 950)) == alone).all()


def test_without_reduce_flops_every_guide_runs() -> None:
    assert draws(many_steps(guide={"reduce_flops": False}), range(0, 2000, 100)).all()


def test_a_guide_left_out_leaves_the_whole_structured_path() -> None:
    config = many_steps()
    model = Transformer(config.model).double()
    assert config.model.guide is not None
    add_guides(model, config.model.guide)
    for module in projections(model):
        assert module.guide is not None
        nn.init.normal_(module.guide)
    runs: list[bool] = []
    for step in (1000, 1001, 1002):
        set_guides(model, step, config)
        at = guide_share(step, 2000, config.model.guide)
        for module in projections(model):
            assert module.guide is not None
            guide, structured = module.guide.detach(), matrix(module)
            x = torch.randn(5, _inputs(module), dtype=torch.float64)
            share = at if module.guide_runs else 0.0
            # The share is kept in the precision of training.
            torch.testing.assert_close(
                module(x).detach(), x @ (share * guide + (1 - share) * structured).T
            )
            # Evaluation draws nothing.
            module.eval()
            torch.testing.assert_close(
                module(x).detach(), x @ (at * guide + (1 - at) * structured).T
            )
            module.train()
            runs.append(module.guide_runs)
    assert 3 < sum(runs) < 15, "one of the two was hardly tested"


# Guided runs


def saved_names(run_dir: Path, step: int) -> set[str]:
    """Names in the checkpoint of `step`, which a later one has not yet replaced."""
    path = run_dir / "checkpoints" / f"step-{step:08d}.safetensors"
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def test_after_guidance_nothing_of_it_is_left(stdlib: TokenDataset, tmp_path: Path) -> None:
    """Neither in checkpoints nor in memory."""
    runtime = {"eval_interval": 1, "checkpoint_interval": 1}
    names: list[set[str]] = []
    held: dict[str, dict[float, int]] = {}
    guide = {"ratio": 0.5, "reduce_flops": False}

    def run(name: str, config: RunConfig) -> None:
        before, held[name] = held_bytes(), {}

        def look(row: Row) -> None:
            if row["step"] in (2, 4, 6):
                held[name][row["step"]] = held_bytes() - before
            if name == "guided" and row["step"] > 1:
                names.append(saved_names(tmp_path / name, int(row["step"]) - 1))

        train(config, stdlib, tmp_path / name, look)

    run("guided", pico(budget={"steps": 6}, guide=guide, runtime=runtime))
    run("unguided", pico(budget={"steps": 6}, runtime=runtime))

    # Guided after steps 1 and 2; the checkpoint of step 3 is the first without.
    unguided = set(final_state(tmp_path / "unguided"))
    guides = [f"layers.1.mlp.{side}.guide" for side in ("fc1", "fc2")]
    extra = {f"model.{name}" for name in guides} | {
        f"optimizer.{name}.{key}" for name in guides for key in ("exp_avg", "exp_avg_sq", "step")
    }
    assert names[:2] == [unguided | extra] * 2
    assert names[2:] == [unguided] * 6
    assert set(final_state(tmp_path / "guided")) == unguided
    # A guide and its two moments, of 32 x 128 fp32 numbers each, and a count of steps; twice.
    assert held["guided"][2] == held["unguided"][2] + 2 * (3 * 4 * 32 * 128 + 4)
    assert held["guided"][4] == held["guided"][6] == held["unguided"][4] > 0


def held_bytes() -> int:
    """Bytes of the parameters and of the optimizer states that anything still holds."""
    gc.collect()
    held: list[Tensor] = []
    for thing in gc.get_objects():  # By type: `isinstance` would wake lazy modules.
        if type(thing) is nn.Parameter:
            held.append(thing)
        elif type(thing) is torch.optim.AdamW:
            held += [value for state in thing.state.values() for value in state.values()]
    return sum({tensor.untyped_storage().data_ptr(): tensor.nbytes for tensor in held}.values())


def test_fixed_flops_reads_the_first_tokens_again(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Tensor] = []

    class Watched(BatchLoader):
        def batch(self, step: int, rows: slice | range | None = None) -> Batch:
            inputs, targets = super().batch(step, rows)
            read.append(torch.cat([inputs, targets], dim=1))
            return inputs, targets

    monkeypatch.setattr("workloads.train.BatchLoader", Watched)
    config = pico(budget={"steps": 10}, guide={"ratio": 0.39})
    assert (config.guided_steps, config.total_steps) == (3, 13)
    result = train(config, stdlib, tmp_path)
    assert len(read) == 13
    assert all(torch.equal(again, first) for again, first in zip(read[10:], read[:3], strict=True))
    assert len({tuple(batch.flatten().tolist()) for batch in read[:10]}) == 10
    # Text that is read again is not new text.
    assert result.tokens == config.tokens == 10 * 8 * 128
    rows = rows_of(tmp_path)
    assert [row["tokens"] for row in rows] == [min(k, 10) * 8 * 128 for k in range(1, 14)]
    assert [row["step"] for row in rows] == list(range(1, 14))
    assert rows[-1]["val_loss"] == result.val_loss
    # Warm-up and decay take the total: int(0.1 x 13) = 1, and then 12 steps of cosine.
    peak = config.optimizer.learning_rate
    expected = [peak] + [peak * (0.1 + 0.45 * (1 + math.cos(math.pi * k / 12))) for k in range(12)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], expected, rtol=1e-12)
    shares = [(1 + math.cos(math.pi * k / 3)) / 2 for k in range(3)] + [0.0] * 10
    np.testing.assert_allclose([row["guide_share"] for row in rows], shares, atol=1e-12)


def test_fixed_steps_reads_no_token_again(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = guided_run(mode="fixed_steps")
    assert (config.guided_steps, config.total_steps, config.tokens) == (5, 10, 10 * 8 * 128)
    result = train(config, stdlib, tmp_path)
    assert (result.step, result.tokens) == (10, 10 * 8 * 128)


def test_a_run_guided_to_its_end_ends_without_guides(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = guided_run(mode="fixed_steps", ratio=1.0)
    result = train(config, stdlib, tmp_path)
    assert (result.status, result.step) == ("finished", 10)
    assert not any("guide" in name for name in final_state(tmp_path))
    # The evaluation at the end, with a share of 0, is that of the unguided model.
    (tmp_path / "result.json").unlink()
    assert train(config, stdlib, tmp_path).val_loss == pytest.approx(result.val_loss, rel=1e-6)


@pytest.mark.parametrize("kind", ["lowrank", "blockshuffle"])
def test_guided_training_is_the_recipe_written_by_hand(
    stdlib: TokenDataset, tmp_path: Path, kind: str
) -> None:
    """In float64: a second guided model, trained as the definition says."""
    ffn = {"kind": "lowrank", "rank": 5} if kind == "lowrank" else {"kind": kind, "nblocks": 4}
    config = pico(
        ffn=ffn,
        budget={"steps": 8},
        guide={"ratio": 0.5, "reduce_flops": False},
        learning_rate=1e-3,
        seed=3,
    )
    train(config, stdlib, tmp_path)
    torch.manual_seed(3)
    model = Transformer(config.model).double()
    for layer in model.layers[1:]:
        layer.mlp = FeedForwardByHand(layer.mlp)
    optimizer = build_optimizer(model, config.optimizer)
    loader = BatchLoader(stdlib.split("train"), 128, 8, 3)
    rows = rows_of(tmp_path)
    assert len(rows) == 12
    for step, row in enumerate(rows):
        for module in model.modules():
            if isinstance(module, ByHand):
                module.share = (1 + math.cos(math.pi * step / 4)) / 2 if step < 4 else 0.0
        inputs, targets = loader.batch(step if step < 8 else step - 8)
        logits = model(inputs)
        loss = -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()
        optimizer.zero_grad()
        loss.backward()
        if step == 3:
            slopes = [m.guide.grad for m in model.modules() if isinstance(m, ByHand)]
            assert all(slope is not None and slope.abs().sum() > 0 for slope in slopes)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = row["learning_rate"]
        optimizer.step()
        # The rounding of fp32, which the steps amplify.
        assert row["train_loss"] == pytest.approx(float(loss.detach()), rel=2e-6 * (1 + step))
        assert row["grad_norm"] == pytest.approx(float(norm), rel=2e-5 * (1 + step))


def test_evaluation_amid_guidance_is_of_the_whole_mixture(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    """At the share that the steps so far have left, whatever the next step draws."""
    config = pico(
        model={"num_layers": 3},
        budget={"steps": 20},
        guide={"ratio": 0.5, "mode": "fixed_steps"},
        runtime={"eval_interval": 1, "checkpoint_interval": 1},
        eval_tokens=300,
    )
    inputs, targets = next(eval_batches(stdlib.split("val"), 128, 2, 300))
    expected: dict[float, float] = {}

    def look(row: Row) -> None:
        before = row["step"] - 1  # Of the newest checkpoint.
        if before not in (1, 3, 5, 7):
            return
        model = Transformer(config.model)
        for layer in model.layers[1:]:
            layer.mlp = FeedForwardByHand(layer.mlp)
        model.load_state_dict(weights_of(tmp_path))
        for module in model.modules():
            if isinstance(module, ByHand):
                module.share = (1 + math.cos(math.pi * before / 10)) / 2
        with torch.no_grad():
            expected[before] = float(next_token_loss(model(inputs), targets))

    train(config, stdlib, tmp_path, look)
    found = {row["step"]: row["val_loss"] for row in rows_of(tmp_path) if row["step"] in expected}
    assert found == pytest.approx(expected, rel=2e-6)
    assert len(expected) == 4


class FeedForwardByHand(nn.Module):
    """fc2(GELU(fc1(x))), under the names of the layer's own weights."""

    def __init__(self, layer: object) -> None:
        super().__init__()
        assert isinstance(layer, FeedForward)
        self.fc1, self.fc2 = ByHand(layer.fc1), ByHand(layer.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class ByHand(nn.Module):
    """a W x + (1 - a) structured(x) + b, through materialized matrices."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        assert isinstance(projection, Projection)
        self.u, self.v = (nn.Parameter(projection.get_parameter(n).detach()) for n in "uv")
        self.bias = nn.Parameter(projection.get_parameter("bias").detach())
        self.guide = nn.Parameter(matrix(projection))
        self.share = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.v.ndim == 2:
            structured = self.u @ self.v
        else:
            blocks = len(self.v)
            place = torch.arange(blocks * self.u.shape[1]).reshape(-1, blocks).T.flatten()
            number = torch.arange(blocks * self.u.shape[2]).reshape(-1, blocks).T.flatten()
            outer = torch.zeros(len(place), len(number), dtype=x.dtype)
            outer = outer.index_put((place[:, None], number[None]), torch.block_diag(*self.u))
            structured = outer @ torch.block_diag(*self.v)
        if not self.share:
            return x @ structured.T + self.bias
        return x @ (self.share * self.guide + (1 - self.share) * structured).T + self.bias


def test_reduced_flops_train_the_drawn_guides_alone(stdlib: TokenDataset) -> None:
    """A guide left out has no gradient, and its optimizer does not move it."""
    config = many_steps()
    model = Transformer(config.model)
    assert config.model.guide is not None
    add_guides(model, config.model.guide)
    optimizer = build_optimizer(model, config.optimizer)
    loader = BatchLoader(stdlib.split("train"), 128, 1, 0)
    moved: set[bool] = set()
    for step in range(1000, 1004):
        set_guides(model, step, config)
        before = {
            id(m): m.guide.detach().clone() for m in projections(model) if m.guide is not None
        }
        inputs, targets = loader.batch(step)
        next_token_loss(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for module in projections(model):
            assert module.guide is not None
            same = torch.equal(module.guide, before[id(module)])
            assert same != module.guide_runs
            moved.add(same)
    assert moved == {True, False}


def test_steps_are_faster_when_guidance_has_ended(stdlib: TokenDataset, tmp_path: Path) -> None:
    # The dense guides cost many times the low-rank weights, so that noise does not hide it.
    config = pico(
        model={"hidden_dim": 256, "ffn_dim": 1024, "num_heads": 4, "block_size": 64},
        ffn={"kind": "lowrank", "rank": 16, "keep_first_dense": False},
        guide={"ratio": 0.5, "mode": "fixed_steps", "reduce_flops": False},
        budget={"steps": 24},
        runtime={"eval_interval": 100, "checkpoint_interval": 100},
    )
    train(config, stdlib, tmp_path)
    rows, _ = read_rows(tmp_path / "metrics.jsonl")
    speed = [row["tokens_per_second"] for row in rows]
    assert [row["guide_share"] > 0 for row in rows] == [True] * 12 + [False] * 12
    assert np.median(speed[13:]) > 1.3 * np.median(speed[1:12])
