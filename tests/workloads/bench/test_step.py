"""`python -m workloads bench step` in miniature: whole steps with the fast paths, and without."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from kernels import switches
from kernels.bench import claims, records, roofline
from kernels.bench.claims import Claim, StepTask
from kernels.bench.ffn import STRUCTURED, Kind
from tests.kernels.speed import require_speed
from workloads.bench import step
from workloads.commands import app
from workloads.recipes.presets import PRESETS

CPU = torch.device("cpu")
DENSE = Claim("step/pico/dense", "cpu", StepTask("pico", "dense"), "reference", 1e-9)
GUIDED = Claim(
    "step/pico/self-guided",
    "cpu",
    StepTask("pico", "lowrank", 0.5, guided=True),
    "reference",
    1e9,
)


def test_the_command_appends_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", (DENSE, GUIDED))
    sizes = roofline.Sizes(square=16, copied_bytes=1024, rounds=1)
    monkeypatch.setattr(roofline.Sizes, "of", classmethod(lambda cls, device: sizes))
    out = tmp_path / "results.jsonl"
    done = CliRunner().invoke(app, ["bench", "step", "--rounds", "1", "--out", str(out)])
    assert done.exit_code == 1, done.output  # No step is a billion times faster.
    assert [line.split()[0] for line in done.stdout.splitlines()[:2]] == [DENSE.name, GUIDED.name]
    first, second = records.read(out)
    assert (first["verified"], second["verified"]) == (True, False)
    assert first["baseline"] == "reference operations"
    assert second["task"] == "training step of pico, self-guided lowrank 50.0% FFN"
    assert first["fraction_of_gemm_peak"] > 0


@pytest.mark.parametrize("claim", [DENSE, GUIDED], ids=lambda claim: claim.name)
def test_the_baseline_runs_as_the_reference(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    fast: list[tuple[bool, bool]] = []
    built = step.build_optimizer

    def noting(model: torch.nn.Module, config: object) -> object:
        model.register_forward_pre_hook(
            lambda module, inputs: fast.append(
                (switches.fast("feed_forward"), switches.fast("attention"))
            )
        )
        return built(model, config)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(step, "build_optimizer", noting)
    comparison = step.compare(claim, CPU)
    comparison.candidate(0)
    comparison.baseline(0)
    comparison.candidate(1)
    assert fast == [(True, True), (False, False), (True, True)]
    # Six times the FFN's weights for each of 16 x 128 tokens, in one layer at the least.
    assert comparison.flops and comparison.flops > 6 * 16 * 128 * 8 * 32**2


@pytest.mark.parametrize("kind", ["dense", *STRUCTURED])
def test_no_step_is_slower_than_its_plain_formulation(kind: Kind) -> None:
    torch.set_num_threads(1)
    claim = Claim("step", "cpu", StepTask("pico", kind, 1.0 if kind == "dense" else 0.625), "plain")
    contenders = step.compare(claim, CPU).contenders()
    require_speed(contenders, 1.0, num_rounds=3, attempts=4, what=f"a step with {kind} FFNs")


def test_the_claims_have_the_heads_of_the_presets() -> None:
    for preset, (heads, head_dim) in claims.HEADS.items():
        model = PRESETS[preset].model
        assert (model.num_heads, model.head_dim) == (heads, head_dim)
