"""The studies that ship: the published ones with the published numbers, and their CPU twins."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from study.plan import planner
from study.plan.planner import Point
from tests.study.launching import ROOT, in_process
from workloads.cost import flops
from workloads.data import texts
from workloads.data.config import NamedConfig

SPECS = ROOT / "study" / "specs"
# What two CPU cores train in less than 15 minutes, at the measured 60 GFLOP/s each.
TWIN_FLOPS = 1.0e14
LLAMA_ON_REFINEDWEB = NamedConfig(source="refinedweb", tokenizer="llama.json")
DENSE_FLOPS = {"s": 1.6947e18, "m": 1.5481e19, "l": 7.0345e19, "xl": 2.1025e20}


def points(name: str, tmp_path: Path) -> list[Point]:
    return planner.load(SPECS / f"{name}.yaml", tmp_path).points


@pytest.mark.parametrize("spec", sorted(path.stem for path in SPECS.glob("*.yaml")))
def test_every_spec_that_ships_can_be_planned(spec: str, tmp_path: Path) -> None:
    assert points(spec, tmp_path)


@pytest.mark.parametrize(
    ("spec", "recorded"),
    [
        ("paper", "a1d31ccd79fc69ae"),
        ("self_guided", "73c97b35096ad480"),
        ("wide_structured", "dc2ed6ea5a54f773"),
    ],
)
def test_the_published_studies_train_on_the_papers_text(
    spec: str, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the line that names RefinedWeb they are the studies that were recorded before."""
    monkeypatch.setattr(texts, "fingerprint", lambda config: "e09c3d3cebdbb493")
    named, text = points(spec, tmp_path), (SPECS / f"{spec}.yaml").read_text()
    assert all(p.config.data == LLAMA_ON_REFINEDWEB and not p.text.at_hand for p in named)
    assert all((p.passes or 9) < 1 for p in named)  # 65 billion tokens are enough for all
    (line,) = (line for line in text.splitlines(keepends=True) if line.startswith("data:"))
    (tmp_path / "before.yaml").write_text(text.replace(line, ""))
    before = planner.load(tmp_path / "before.yaml", tmp_path).points
    assert [p.id for p in before] == [p.id for p in named]
    assert [p.train_flops for p in before] == [p.train_flops for p in named]
    prints = json.dumps({p.id: p.fingerprint for p in before}, sort_keys=True)
    assert hashlib.sha256(prints.encode()).hexdigest()[:16] == recorded


def test_wide_structured_is_the_published_table(tmp_path: Path) -> None:
    # arXiv 2406.16450, table 2: millions of parameters, training FLOPs, billions of tokens.
    done = in_process("plan", SPECS / "wide_structured.yaml", "--json", "--runs", tmp_path)
    found = [
        (
            point["arm"],
            f"{point['params'] / 1e6:.0f}M",
            f"{point['train_flops']:.2e}",
            f"{point['tokens'] / 1e9:.1f}B",
        )
        for point in json.loads(done.stdout)["points"]
        if point["preset"] == "transformer-m"
    ]
    assert found == [
        ("dense", "335M", "1.55e+19", "6.7B"),
        ("dense GQA", "335M", "1.55e+19", "6.7B"),
        ("wide", "219M", "1.55e+19", "10.6B"),
        ("wide self-guided", "219M", "1.56e+19", "6.7B"),
    ]


def test_wide_structured_l_spends_what_its_dense_model_does(tmp_path: Path) -> None:
    large = [p for p in points("wide_structured", tmp_path) if p.variant.preset.endswith("-l")]
    assert [p.variant.arm_name() for p in large] == [
        "dense",
        "dense GQA",
        "wide",
        "wide self-guided",
    ]
    for point in large:
        assert point.train_flops == pytest.approx(DENSE_FLOPS["l"], rel=2e-3)
    assert large[0].params.total / large[1].params.total == pytest.approx(1, rel=1e-3)
    assert [p.params.total for p in large[2:]] == [464_428_032] * 2


def test_self_guided_runs_spend_what_their_dense_model_does(tmp_path: Path) -> None:
    for point in points("self_guided", tmp_path):
        size = point.variant.preset.removeprefix("transformer-")
        if point.variant.guide and point.variant.guide.mode == "fixed_steps":
            unguided = point.train_flops - _guide_flops(point)
            # The paper: half of the steps guided, half of their draws, so a quarter of the FFN's.
            assert point.config.total_steps == point.config.steps
            assert 0.1 < _guide_flops(point) / unguided < 0.25
        else:
            assert point.train_flops == pytest.approx(DENSE_FLOPS[size], rel=5e-3), point.id


def test_optimizers_compares_four_arms_at_two_sizes_with_three_seeds(tmp_path: Path) -> None:
    wide = [
        50_304 * d + 10 * (4 * d * d + 3 * d * f) + 21 * d for d, f in ((768, 2112), (1024, 2816))
    ]
    for name, sizes in (("optimizers", wide), ("optimizers_cpu", [166_528, 472_224])):
        found = points(name, tmp_path)
        arms = [p.variant.arm_name().replace(" weight_decay=0.2", "") for p in found]
        kinds = ["adamw", "muon", "sophia_g", "sophia_g betas=0.9,0.95 hessian_tokens=5120"]
        pairs = zip(arms, (p.params.total for p in found), strict=True)
        assert Counter(pairs) == {(f"dense {k}", size): 3 for k in kinds for size in sizes}
        # Sophia-G decays as in its authors' script, whatever the preset.
        for point in found:
            optimizer = point.config.optimizer
            assert optimizer.weight_decay == (0.2 if "sophia" in optimizer.label() else 0.1)


def test_dynamics_compares_every_kind_guided_and_not_at_three_rates(tmp_path: Path) -> None:
    for name in ("dynamics", "dynamics_cpu"):
        found = Counter(
            (p.config.model.ffn.kind, p.config.model.guide is not None)
            for p in points(name, tmp_path)
        )
        structured = ("lowrank", "blockdense", "blockshuffle")
        assert found == {("dense", False): 3} | {
            (kind, guided): 3 for kind in structured for guided in (False, True)
        }


@pytest.mark.parametrize(
    "spec", ["paper", "self_guided", "wide_structured", "dynamics", "optimizers"]
)
def test_a_cpu_twin_has_the_arms_of_its_study_at_a_cpus_cost(spec: str, tmp_path: Path) -> None:
    def shape(name: str) -> Counter[tuple[str, str | None, bool]]:
        return Counter(
            (p.config.model.ffn.kind, _mode(p), _grouped(p)) for p in points(name, tmp_path)
        )

    assert shape(f"{spec}_cpu") == shape(spec)
    assert sum(p.train_flops for p in points(f"{spec}_cpu", tmp_path)) < TWIN_FLOPS


def test_growth_is_the_published_setting(tmp_path: Path) -> None:
    # arXiv 2405.15319 and its public code: 5,000 steps of 2,097,152 tokens train the base.
    scratch, grown = points("growth", tmp_path)
    base, last = grown.config.phases
    counts = [flops.count_params(model).total for model in (base.model, last.model)]
    assert [f"{count / 1e6:.1f}M" for count in counts] == ["439.4M", "1364.3M"]
    assert (base.model.num_layers, last.model.num_layers, base.steps) == (6, 24, 5000)
    assert (base.learning_rate, grown.config.optimizer.learning_rate) == (1e-3, 3e-4)
    assert last.model.model_copy(update={"growth": None}) == scratch.config.model
    assert round(scratch.config.optimizer.warmup_fraction * scratch.config.steps, -3) == 3000
    assert grown.train_flops == pytest.approx(scratch.train_flops, rel=1e-4)


def test_the_cpu_study_of_growth_compares_every_way_at_equal_flops(tmp_path: Path) -> None:
    found = points("growth_cpu", tmp_path)
    arms = Counter(p.variant.arm_name() for p in found)
    assert len(arms) == 8 and set(arms.values()) == {9}  # three budgets, three seeds
    assert {p.params.total for p in found} == {109_920}
    factors = Counter(p.summary()["growth_factor"] for p in found)
    assert factors == {None: 9, 2: 27, 4: 27, 8: 9}
    assert sum(p.train_flops for p in found) < TWIN_FLOPS
    late = next(p for p in found if "from1layer" in p.id)
    base, last = late.config.phases
    assert base.model.num_layers == 1 and base.steps == int(0.8 * late.config.steps)
    assert last.schedule_start == 0


def _grouped(point: Point) -> bool:
    return point.config.model.num_kv_heads < point.config.model.num_heads


def _mode(point: Point) -> str | None:
    guide = point.config.model.guide
    return guide.mode if guide else None


def _guide_flops(point: Point) -> float:
    """FLOPs of the guides, from their shapes: 3 x 2 x weights a token, halved by the draws."""
    model = point.config.model
    weights = (model.num_layers - 1) * 2 * model.hidden_dim * model.ffn_dim
    return 3 * weights * point.config.phases[0].steps * point.config.tokens_per_step


def test_the_compute_bound_studies_end_by_the_clock(tmp_path: Path) -> None:
    found = points("compute_bound", tmp_path)
    assert len(found) == 15 and {p.config.clock and p.config.clock.seconds for p in found} == {
        10_800
    }
    shapes = Counter((p.config.model.num_layers, p.config.model.hidden_dim) for p in found)
    assert shapes == {(10, 1024): 9, (16, 768): 2, (6, 1280): 2, (4, 1536): 2}
    preset = next(p for p in found if p.id.startswith("noam-wide-dense-10800s-lr0.00125-adamw"))
    assert preset.params.total == 179_983_360
    # About 8,780 steps of 131,072 tokens fitted into the three hours.
    assert preset.config.steps == pytest.approx(8780, rel=0.01)
    assert preset.config.optimizer.schedule == "onecycle"
    # The models of one step time have about equal FLOPs a step, as far as FLOPs say.
    per_step = [p.train_flops / p.config.steps for p in found]
    assert max(per_step) / min(per_step) < 1.3

    twin = points("compute_bound_cpu", tmp_path)
    assert {p.config.clock and p.config.clock.seconds for p in twin} == {60}
    assert len(twin) * 60 / 2 < 15 * 60  # two at a time
    assert {p.config.optimizer.schedule for p in twin} == {"onecycle"}
    assert len({(p.config.model.num_layers, p.config.model.hidden_dim) for p in twin}) == 4
